//! Convolution of NHWC images with HWIO weights. Taps that fall on the padding are left out.

use super::{Real, shards, tree_sum};
use crate::geometry::Conv2d;

/// The input row or column that output `out` reads through tap `tap`, if it is in the image.
fn input_place(g: &Conv2d, out: usize, tap: usize, size: usize) -> Option<usize> {
    (out * g.stride() + tap).checked_sub(g.padding()).filter(|&place| place < size)
}

/// The output row or column that reads input `place` through tap `tap`, if there is one.
fn output_place(g: &Conv2d, place: usize, tap: usize, size: usize) -> Option<usize> {
    let dilated = (place + g.padding()).checked_sub(tap)?;
    Some(dilated / g.stride()).filter(|&out| dilated % g.stride() == 0 && out < size)
}

/// The position of element (`image`, `row`, `column`, `channel`) in NHWC order.
fn nhwc([height, width, channels]: [usize; 3], [image, row, column, channel]: [usize; 4]) -> usize {
    ((image * height + row) * width + column) * channels + channel
}

fn input_index(g: &Conv2d, place: [usize; 4]) -> usize {
    nhwc([g.height(), g.width(), g.in_channels()], place)
}

fn output_index(g: &Conv2d, place: [usize; 4]) -> usize {
    nhwc([g.out_height(), g.out_width(), g.out_channels()], place)
}

fn weight_index(g: &Conv2d, place: [usize; 4]) -> usize {
    nhwc([g.kernel_width(), g.in_channels(), g.out_channels()], place)
}

/// y\[n, oh, ow, o\] = sum over kh, kw, c of x\[n, oh s + kh - p, ow s + kw - p, c\] w\[kh, kw, c, o\]
/// with stride s and padding p: [N, H, W, C] [Kh, Kw, C, O] -> [N, H', W', O]
pub fn conv2d_forward<T: Real>(g: &Conv2d, x: &[T], w: &[T], y: &mut [T]) {
    let output = |n, oh, ow, o| {
        let mut sum = T::zero();
        for kh in 0..g.kernel_height() {
            let Some(h) = input_place(g, oh, kh, g.height()) else { continue };
            for kw in 0..g.kernel_width() {
                let Some(column) = input_place(g, ow, kw, g.width()) else { continue };
                for c in 0..g.in_channels() {
                    let x = x[input_index(g, [n, h, column, c])];
                    sum = x.mul_add(w[weight_index(g, [kh, kw, c, o])], sum);
                }
            }
        }
        sum
    };
    for n in 0..g.images() {
        for oh in 0..g.out_height() {
            for ow in 0..g.out_width() {
                for o in 0..g.out_channels() {
                    y[output_index(g, [n, oh, ow, o])] = output(n, oh, ow, o);
                }
            }
        }
    }
}

/// dx\[n, h, w, c\] = sum over kh, kw, o of dy\[n, oh, ow, o\] w\[kh, kw, c, o\], where (oh, ow) is the
/// output that reads (h, w) through tap (kh, kw): [N, H', W', O] [Kh, Kw, C, O] -> [N, H, W, C]
///
/// The taps run from the last to the first: so dy is read at ascending places.
pub fn conv2d_backward_input<T: Real>(g: &Conv2d, dy: &[T], w: &[T], dx: &mut [T]) {
    let input = |n, h, column, c| {
        let mut sum = T::zero();
        for kh in (0..g.kernel_height()).rev() {
            let Some(oh) = output_place(g, h, kh, g.out_height()) else { continue };
            for kw in (0..g.kernel_width()).rev() {
                let Some(ow) = output_place(g, column, kw, g.out_width()) else { continue };
                for o in 0..g.out_channels() {
                    let dy = dy[output_index(g, [n, oh, ow, o])];
                    sum = dy.mul_add(w[weight_index(g, [kh, kw, c, o])], sum);
                }
            }
        }
        sum
    };
    for n in 0..g.images() {
        for h in 0..g.height() {
            for column in 0..g.width() {
                for c in 0..g.in_channels() {
                    dx[input_index(g, [n, h, column, c])] = input(n, h, column, c);
                }
            }
        }
    }
}

/// dw\[kh, kw, c, o\] = sum over n, oh, ow of x\[n, oh s + kh - p, ow s + kw - p, c\] dy\[n, oh, ow, o\]:
/// [N, H, W, C] [N, H', W', O] -> [Kh, Kw, C, O]
///
/// A chain a shard (images, then output pixels in order), and the tree over the shards.
pub fn conv2d_backward_weight<T: Real>(g: &Conv2d, x: &[T], dy: &[T], dw: &mut [T]) {
    let shard_sum = |shard: std::ops::Range<usize>, [kh, kw, c, o]: [usize; 4]| {
        let mut sum = T::zero();
        for n in shard {
            for oh in 0..g.out_height() {
                let Some(h) = input_place(g, oh, kh, g.height()) else { continue };
                for ow in 0..g.out_width() {
                    let Some(column) = input_place(g, ow, kw, g.width()) else { continue };
                    let x = x[input_index(g, [n, h, column, c])];
                    sum = x.mul_add(dy[output_index(g, [n, oh, ow, o])], sum);
                }
            }
        }
        sum
    };
    for kh in 0..g.kernel_height() {
        for kw in 0..g.kernel_width() {
            for c in 0..g.in_channels() {
                for o in 0..g.out_channels() {
                    let place = [kh, kw, c, o];
                    let sums = shards(g.images()).map(|s| shard_sum(s, place)).collect();
                    dw[weight_index(g, place)] = tree_sum(sums, |a, b| a + b).unwrap_or(T::zero());
                }
            }
        }
    }
}
