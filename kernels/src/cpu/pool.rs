//! Max-pooling: a task an image, vectors across channels.

use super::finish::{Finish, FinishVector};
use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::Pool2d;
use crate::threads::{self, cut};

/// y = the window's maximum, code = its place in the window (row-major); the first of equals, and
/// a NaN replaces what was taken before it: [N, H, W, C] -> [N, H', W', C]
pub fn max_pool2d_forward(g: &Pool2d, x: &[f32], y: &mut [f32], codes: &mut [u8]) {
    let isa = Isa::current();
    let len = g.out_image_len().max(1);
    threads::each((cut(y, len), cut(codes, len)), |n, (y, codes)| {
        isa.run(Forward { g, x: &x[n * g.image_len()..][..g.image_len()], y, codes });
    });
}

/// Index of the pixel at place 0 of window (`row`, `column`) in its image.
#[inline(always)]
pub(super) fn window(g: &Pool2d, row: usize, column: usize) -> usize {
    (row * g.stride() * g.width() + column * g.stride()) * g.channels()
}

/// The larger of `v` and what was taken before it: where v is a number the comparison decides,
/// where it is NaN, v is taken.
#[inline(always)]
fn greater<S: Simd>(s: S, v: S::V, best: S::V) -> S::V {
    s.select_eq(v, v, s.max(v, best), v)
}

/// The maximum of a window of four pixels, like that of [`maximum`].
#[inline(always)]
pub(super) fn greatest<S: Simd>(s: S, [first, second, third, fourth]: [S::V; 4]) -> S::V {
    greater(s, fourth, greater(s, third, greater(s, second, first)))
}

/// The maximum of the window whose first number is at `first` and its place in the window, in the
/// lanes of a vector of channels; of the numbers as `finish` makes them. The first of equals is
/// taken, and a NaN replaces what was taken before it.
#[inline(always)]
pub(super) fn maximum<S: Simd>(
    s: S,
    g: &Pool2d,
    x: &[f32],
    first: usize,
    finish: FinishVector<S::V>,
) -> (S::V, S::V) {
    let row_len = g.width() * g.channels();
    let mut best = finish.apply(s, s.load_slice(&x[first..]));
    let mut code = s.splat(0.0);
    let mut place = 0.0;
    for row in 0..g.window_height() {
        for column in 0..g.window_width() {
            let at = first + row * row_len + column * g.channels();
            let (v, here) = (finish.apply(s, s.load_slice(&x[at..])), s.splat(place));
            let larger = s.select_gt(v, best, here, code);
            code = s.select_eq(v, v, larger, here);
            best = greater(s, v, best);
            place += 1.0;
        }
    }
    (best, code)
}

struct Forward<'a> {
    g: &'a Pool2d,
    x: &'a [f32],
    y: &'a mut [f32],
    codes: &'a mut [u8],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (g, channels) = (self.g, self.g.channels());
        let outputs = self.y.chunks_exact_mut(channels).zip(self.codes.chunks_exact_mut(channels));
        for (i, (y, codes)) in outputs.enumerate() {
            let first = window(g, i / g.out_width(), i % g.out_width());
            for c in (0..channels).step_by(LANES) {
                let (best, code) = maximum(s, g, self.x, first + c, Finish::NONE.at(s, c));
                s.store_slice(&mut y[c..], best);
                store_codes(s, &mut codes[c..], code);
            }
        }
    }
}

/// Writes the first [`LANES`] codes of `to`, or as many as it has.
#[inline(always)]
pub(super) fn store_codes<S: Simd>(s: S, to: &mut [u8], codes: S::V) {
    if to.len() >= LANES {
        // SAFETY: the slice holds 16 bytes, as just checked.
        unsafe { s.store_u8(to.as_mut_ptr(), codes) }
    } else {
        let mut bytes = [0; LANES];
        // SAFETY: `bytes` holds 16 bytes.
        unsafe { s.store_u8(bytes.as_mut_ptr(), codes) };
        to.copy_from_slice(&bytes[..to.len()]);
    }
}

/// The first [`LANES`] codes of `from`; missing ones are 0.
#[inline(always)]
fn load_codes<S: Simd>(s: S, from: &[u8]) -> S::V {
    if from.len() >= LANES {
        // SAFETY: the slice holds 16 bytes, as just checked.
        unsafe { s.load_u8(from.as_ptr()) }
    } else {
        let mut bytes = [0; LANES];
        bytes[..from.len()].copy_from_slice(from);
        // SAFETY: `bytes` holds 16 bytes.
        unsafe { s.load_u8(bytes.as_ptr()) }
    }
}

/// dx = the sum of dy over the windows whose maximum the pixel was, in the outputs' order:
/// [N, H', W', C] -> [N, H, W, C]
pub fn max_pool2d_backward(g: &Pool2d, dy: &[f32], codes: &[u8], dx: &mut [f32]) {
    let isa = Isa::current();
    let len = g.out_image_len();
    threads::chunks(dx, g.image_len().max(1), |n, dx| {
        let (dy, codes) = (&dy[n * len..][..len], &codes[n * len..][..len]);
        isa.run(Backward { g, dy, codes, scale: 1.0, dx });
    });
}

/// dx of one image; dy is multiplied by `scale` first.
pub(super) struct Backward<'a> {
    pub g: &'a Pool2d,
    pub dy: &'a [f32],
    pub codes: &'a [u8],
    pub scale: f32,
    pub dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (g, channels, zero) = (self.g, self.g.channels(), s.splat(0.0));
        let (row_len, scale) = (g.width() * channels, s.splat(self.scale));
        // Windows that tile the image write each pixel once, so nothing has to be there before.
        let tiles =
            |size: usize, window: usize| window == g.stride() && size.is_multiple_of(window);
        let tiled = tiles(g.height(), g.window_height()) && tiles(g.width(), g.window_width());
        if !tiled {
            self.dx.fill(0.0);
        }
        let outputs = self.dy.chunks_exact(channels).zip(self.codes.chunks_exact(channels));
        for (i, (dy, codes)) in outputs.enumerate() {
            let first = window(g, i / g.out_width(), i % g.out_width());
            for c in (0..channels).step_by(LANES) {
                let (dy, code) = (s.load_slice(&dy[c..]), load_codes(s, &codes[c..]));
                let dy = s.mul(scale, dy);
                let mut place = 0.0;
                for row in 0..g.window_height() {
                    for column in 0..g.window_width() {
                        let pixel = first + row * row_len + column * channels;
                        let dx = &mut self.dx[pixel + c..pixel + channels];
                        let sum = if tiled { zero } else { s.load_slice(dx) };
                        let taken = s.select_eq(code, s.splat(place), dy, zero);
                        s.store_slice(dx, s.add(sum, taken));
                        place += 1.0;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of a row: a NaN first, in the middle, last, twice; all minus infinity.
    #[test]
    fn nan_wins_and_codes_stay_in_the_window() {
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
        let (mut y, mut codes) = ([0.0; 5], [9; 5]);
        max_pool2d_forward(&g, windows.as_flattened(), &mut y, &mut codes);
        assert!(y[..4].iter().all(|y| y.is_nan()));
        assert_eq!(y[4], low);
        assert_eq!(codes, [0, 1, 2, 1, 0]);
    }
}
