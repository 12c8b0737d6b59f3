//! Max-pooling.

use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::geometry::Pool2d;

const FILE: &str = "pool";

/// y = the window's maximum, code = its place in the window; the first of equals, NaN wins
pub fn max_pool2d_forward(g: &Pool2d, x: &Memory, y: &mut Memory, codes: &mut Memory) {
    let dispatch = Dispatch::new(FILE, "max_pool2d_forward").read(x).write(y);
    windows(g, g.output_len(), dispatch).write(whole_words(codes)).run(y.len().div_ceil(4));
}

/// dx = the sum of dy over the windows whose maximum the pixel was
pub fn max_pool2d_backward(g: &Pool2d, dy: &Memory, codes: &Memory, dx: &mut Memory) {
    backward(g, 1.0, dy, codes, dx);
}

/// The same of scale dy. Codes may also be [`crate::geometry::NO_GRADIENT`], where the window has
/// fewer pixels.
pub(super) fn backward(g: &Pool2d, scale: f32, dy: &Memory, codes: &Memory, dx: &mut Memory) {
    let dispatch = Dispatch::new(FILE, "max_pool2d_backward").constant("SCALE", scale);
    windows(g, g.input_len(), dispatch).read(dy).read(codes).write(dx).run(dx.len());
}

/// The sizes for `parts/window.wgsl`, and how many numbers are written.
pub(super) fn windows<'a>(g: &Pool2d, len: usize, dispatch: Dispatch<'a>) -> Dispatch<'a> {
    dispatch
        .constant("LEN", len as u32)
        .constant("HEIGHT", g.height)
        .constant("WIDTH", g.width)
        .constant("CHANNELS", g.channels)
        .constant("OUT_HEIGHT", g.out_height() as u32)
        .constant("OUT_WIDTH", g.out_width() as u32)
        .constant("WINDOW_HEIGHT", g.window_height)
        .constant("WINDOW_WIDTH", g.window_width)
        .constant("STRIDE", g.stride)
}

/// Bytes that a shader writes, four of them at once.
#[track_caller]
pub(super) fn whole_words(bytes: &Memory) -> &Memory {
    assert!(bytes.offset().is_multiple_of(4), "bytes are written from a multiple of four on");
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{download, is_there, upload};
    use super::*;

    /// Windows of a row: a NaN first, in the middle, last, twice; all minus infinity. All operands
    /// begin within their blocks.
    #[test]
    fn nan_wins_and_operands_are_slices() {
        if !is_there() {
            return;
        }
        let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
        let windows = [[nan, 1., 2.], [1., nan, 2.], [1., 2., nan], [nan, nan, 5.], [low; 3]];
        let g = Pool2d {
            images: 1,
            height: 1,
            width: 15,
            channels: 1,
            window_height: 1,
            window_width: 3,
            stride: 3,
        };
        let x = upload(&[&[9.0], windows.as_flattened()].concat()).slice(1..16);
        let (y_block, code_block) = (upload(&[7.5f32; 9]), upload(&[77u8; 16]));
        let (mut y, mut codes) = (y_block.slice(3..8), code_block.slice(4..9));
        max_pool2d_forward(&g, &x, &mut y, &mut codes);
        let found = download::<f32>(&y_block);
        assert!(found[3..7].iter().all(|y| y.is_nan()), "{found:?}");
        assert_eq!((&found[..3], found[7], found[8]), (&[7.5; 3][..], low, 7.5));
        let found = download::<u8>(&code_block);
        assert_eq!(found[..9], [77, 77, 77, 77, 0, 1, 2, 1, 0]);
        assert_eq!(found[12..], [77; 4]);

        let dy = upload(&[0.0f32, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).slice(2..7);
        let dx_block = upload(&[7.5f32; 17]);
        max_pool2d_backward(&g, &dy, &codes, &mut dx_block.slice(1..16));
        let expected = [1., 0., 0., 0., 2., 0., 0., 0., 3., 0., 4., 0., 5., 0., 0.];
        assert_eq!(download::<f32>(&dx_block), [&[7.5], &expected[..], &[7.5]].concat());
    }
}
