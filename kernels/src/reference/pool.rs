//! Max-pooling of NHWC images.

use super::Real;
use crate::geometry::Pool2d;

/// Calls `body` with each output's index, channel last, and a function from the place in its
/// window (row-major) to the index of the input that lies there.
fn for_each_output(g: &Pool2d, mut body: impl FnMut(usize, &dyn Fn(usize) -> usize)) {
    let mut output = 0;
    for n in 0..g.images() {
        for oh in 0..g.out_height() {
            for ow in 0..g.out_width() {
                for c in 0..g.channels() {
                    let input = |place: usize| {
                        let row = oh * g.stride() + place / g.window_width();
                        let column = ow * g.stride() + place % g.window_width();
                        ((n * g.height() + row) * g.width() + column) * g.channels() + c
                    };
                    body(output, &input);
                    output += 1;
                }
            }
        }
    }
}

/// y = the window's maximum, code = its place in the window: [N, H, W, C] -> [N, H', W', C]
///
/// The first of equals is taken; a NaN replaces whatever was taken before it.
pub fn max_pool2d_forward<T: Real>(g: &Pool2d, x: &[T], y: &mut [T], codes: &mut [u8]) {
    for_each_output(g, |output, input| {
        let (mut best, mut code) = (x[input(0)], 0);
        for place in 1..g.window_height() * g.window_width() {
            let v = x[input(place)];
            if v > best || v.is_nan() {
                (best, code) = (v, place as u8);
            }
        }
        (y[output], codes[output]) = (best, code);
    });
}

/// dx = the sum of dy over the windows whose maximum the pixel was, in the outputs' order:
/// [N, H', W', C] -> [N, H, W, C]
pub fn max_pool2d_backward<T: Real>(g: &Pool2d, dy: &[T], codes: &[u8], dx: &mut [T]) {
    dx.fill(T::zero());
    for_each_output(g, |output, input| {
        let pixel = input(codes[output].into());
        dx[pixel] = dx[pixel] + dy[output];
    });
}
