//! y = dropout(pool(relu(x ⋆ w + bias))) in one operation: [N, H, W, C] [Kh, Kw, C, O] \[O\] ->
//! [N, H', W', O]. It is what `conv2d`, `add_bias`, `relu`, `max_pool2d` and `dropout` give one
//! after the other, bit for bit, without writing what lies between them to memory.

use toile_kernels::rng::Stream;
use toile_kernels::{Buffer, Kind, conv_pool_backward, conv_pool_forward, geometry};

use super::conv2d::{Window, conv_geometry};
use super::dropout::dropout_geometry;
use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// What follows a convolution and its bias: ReLU, and then these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    /// Height and width of the pool's window; 1 by 1 pools nothing.
    pub window: [usize; 2],
    /// Pixels between neighbouring windows.
    pub stride: usize,
    /// The share of numbers that dropout sets to 0, and its mask.
    pub dropout: (f32, Stream),
}

/// The input and the weights, and a byte a number of the result.
struct ConvPool {
    g: geometry::ConvPool,
    x: Buffer,
    w: Buffer,
    codes: Buffer,
}

impl Tensor {
    /// Convolves, adds a bias, and applies ReLU and a [`Tail`].
    ///
    /// # Panics
    /// As [`Tensor::conv2d`], [`Tensor::add_bias`], [`Tensor::max_pool2d`] and
    /// [`Tensor::dropout`]; and if the window has more than 254 pixels.
    #[must_use]
    #[track_caller]
    pub fn conv_pool(&self, weight: &Tensor, bias: &Tensor, window: Window, tail: Tail) -> Tensor {
        let conv = conv_geometry("conv_pool", self.shape(), weight.shape(), window);
        let mut g = conv_pool_geometry("conv_pool", conv, bias.shape(), tail);
        g.input_gradient = self.wants_gradient().into();
        let mut y = self.buffer_for(g.output_len());
        let mut codes = Buffer::unspecified(self.device(), Kind::Byte, g.output_len());
        conv_pool_forward(&g, self.buffer(), weight.buffer(), bias.buffer(), &mut y, &mut codes);
        let (x, w) = (self.buffer(), weight.buffer());
        let op = || ConvPool { g, x: x.clone(), w: w.clone(), codes };
        Tensor::from_op(output_shape(&g), y, &[self, weight, bias], op)
    }
}

/// The geometry of a convolution with a [`Tail`]; its input gradient is wanted.
#[track_caller]
pub(super) fn conv_pool_geometry(
    op: &str,
    conv: geometry::Conv2d,
    bias: Shape,
    tail: Tail,
) -> geometry::ConvPool {
    let [given] = bias.expect(op, "a bias of shape [O]");
    assert_eq!(given, conv.out_channels(), "{op}: output channels and the bias");
    let mut g = geometry::ConvPool {
        conv,
        window_height: size(tail.window[0]),
        window_width: size(tail.window[1]),
        window_stride: size(tail.stride),
        input_gradient: 1,
        dropout: dropout_geometry(op, 0, tail.dropout.0, tail.dropout.1),
    };
    if let Some(fault) = g.pool().fault() {
        panic!("{op}: {fault}: {:?}", tail.window);
    }
    g.dropout.len = size(g.output_len());
    if let Some(fault) = g.fault() {
        panic!("{op}: {fault}");
    }
    g
}

/// The shape of the result.
pub(super) fn output_shape(g: &geometry::ConvPool) -> Shape {
    let pool = g.pool();
    let [images, channels] = [pool.images(), pool.channels()];
    Shape::new(&[images, pool.out_height(), pool.out_width(), channels])
}

impl Backward for ConvPool {
    fn name(&self) -> &'static str {
        "conv_pool"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let (g, device) = (&self.g, gradient.device());
        let mut dx = slots.slot_or_scratch(0, device, 0);
        let mut dw = slots.slot_or_scratch(1, device, g.conv.weight_len());
        let mut dbias = slots.slot_or_scratch(2, device, g.conv.out_channels());
        conv_pool_backward(
            g,
            &gradient,
            &self.codes,
            &self.x,
            &self.w,
            &mut dx,
            &mut dw,
            &mut dbias,
        );
    }
}

/// A tail for images of `height` by `width` pixels.
pub(super) fn random_tail(draw: &mut Draw, [height, width]: [usize; 2]) -> Tail {
    let stream = Stream { seed: draw.between(0, 1000) as u64, purpose: 1, step: 2 };
    Tail {
        window: [draw.between(1, height.min(3)), draw.between(1, width.min(3))],
        stride: draw.between(1, 2),
        dropout: (draw.between(0, 5) as f32 / 10.0, stream),
    }
}

/// Whether no number lies so close to 0, and no two of a window so close to each other, that the
/// steps of a gradient check would carry them across a kink.
pub(super) fn is_smooth(before_relu: &Tensor, tail: Tail) -> bool {
    const MARGIN: f64 = 1e-3;
    let [images, height, width, channels] = before_relu.shape().expect("is_smooth", "images");
    let numbers: Vec<f64> = before_relu.to_vec();
    let window_is_smooth = |n: usize, top: usize, left: usize, c: usize| {
        let pixel = |i: usize, j: usize| ((n * height + top + i) * width + left + j) * channels + c;
        let [rows, columns] = tail.window;
        let places = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
        let mut window: Vec<f64> = places.map(|(i, j)| numbers[pixel(i, j)]).collect();
        window.sort_by(f64::total_cmp);
        let [.., second, first] = window[..] else { return true };
        first < 0.0 || first - second > MARGIN
    };
    let starts = |size: usize, window: usize| (0..=size - window).step_by(tail.stride);
    numbers.iter().all(|x| x.abs() > MARGIN)
        && (0..images).all(|n| {
            starts(height, tail.window[0]).all(|top| {
                starts(width, tail.window[1])
                    .all(|left| (0..channels).all(|c| window_is_smooth(n, top, left, c)))
            })
        })
}

/// Draws inputs of these shapes until `is_smooth` holds for them.
pub(super) fn smooth_inputs(
    draw: &mut Draw,
    shapes: &[Shape],
    is_smooth: impl Fn(&[Tensor]) -> bool,
) -> Vec<(Shape, Vec<f64>)> {
    loop {
        let inputs: Vec<_> = shapes.iter().map(|s| (*s, draw.reals(s.len()))).collect();
        let tensor = |(shape, values): &(Shape, Vec<f64>)| {
            Tensor::new(toile_kernels::Device::Reference, *shape, values)
        };
        if is_smooth(&inputs.iter().map(tensor).collect::<Vec<_>>()) {
            return inputs;
        }
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [c, o] = [draw.between(1, 3), draw.between(1, 3)];
    let [h, w] = [2 + draw.size(), 2 + draw.size()];
    let window = Window { stride: 1, padding: draw.between(0, 1) };
    let tail = random_tail(draw, [h - 2, w - 2]);
    let (x, weight) = (Shape::new(&[draw.between(1, 2), h, w, c]), Shape::new(&[3, 3, c, o]));
    let inputs = smooth_inputs(draw, &[x, weight, Shape::new(&[o])], |x| {
        is_smooth(&x[0].conv2d(&x[1], window).add_bias(&x[2]), tail)
    });
    vec![Case {
        name: format!("conv_pool {x} by {weight}, {window:?}, {tail:?}"),
        inputs,
        function: Box::new(move |x| x[0].conv_pool(&x[1], &x[2], window, tail)),
    }]
}
