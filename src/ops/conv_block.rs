//! A convolution with bias, batch norm and ReLU, and behind it a [`Tensor::conv_pool`], in one
//! operation: [N, H, W, C] -> [N, H', W', O]. It is what the operations that it stands for give
//! one after the other, bit for bit; of all that lies between them only the first convolution's
//! output is written to memory. Where that convolution is thin (`geometry::ConvBlock::is_thin`) not
//! even that is, and its weight gradient is summed up in another order.
//!
//! The first bias gets no gradient: batch norm takes it away again.

use toile_kernels::{Buffer, Device, Kind, conv_block_backward, conv_block_forward, geometry};

use super::batch_norm::{Constants, RunningStatistics};
use super::conv_pool::{
    Tail, conv_pool_geometry, is_smooth, output_shape, random_tail, smooth_inputs,
};
use super::conv2d::{Window, conv_geometry};
use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The parameters of a [`Tensor::conv_block`].
pub struct Parameters<'a> {
    /// [Kh, Kw, C, P]
    pub weight1: &'a Tensor,
    /// \[P\]
    pub bias1: &'a Tensor,
    /// \[P\]
    pub gamma: &'a Tensor,
    /// \[P\]
    pub beta: &'a Tensor,
    /// [Kh, Kw, P, O]
    pub weight2: &'a Tensor,
    /// \[O\]
    pub bias2: &'a Tensor,
}

/// How a block's two convolutions move, and what is between and behind them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Of the first and the second convolution.
    pub windows: [Window; 2],
    /// Of batch norm.
    pub constants: Constants,
    /// What follows the second convolution.
    pub tail: Tail,
}

/// What was normalised and its statistics, the other operands, and a byte a number of the result.
struct ConvBlock {
    g: geometry::ConvBlock,
    x: Buffer,
    /// Of [`Parameters`] without `bias2`: `weight1`, `bias1`, gamma, beta, `weight2`.
    parameters: [Buffer; 5],
    z: Buffer,
    mean: Buffer,
    inverse_deviation: Buffer,
    codes: Buffer,
}

impl Tensor {
    /// Convolves, normalises with the batch's statistics, applies ReLU, convolves again and
    /// applies ReLU and a [`Tail`]. The running statistics move.
    ///
    /// # Panics
    /// As [`Tensor::conv2d`], [`Tensor::batch_norm`] and [`Tensor::conv_pool`].
    #[must_use]
    #[track_caller]
    pub fn conv_block(
        &self,
        parameters: &Parameters,
        running: &mut RunningStatistics,
        settings: Settings,
    ) -> Tensor {
        let g = block_geometry(self, parameters, settings);
        let Parameters { weight1, bias1, gamma, beta, weight2, bias2 } = parameters;
        let channels = g.first.out_channels();
        let mut z = self.buffer_for(g.kept_len());
        let mut mean = self.buffer_for(channels);
        let mut inverse_deviation = self.buffer_for(channels);
        let mut y = self.buffer_for(g.second.output_len());
        let mut codes = Buffer::unspecified(self.device(), Kind::Byte, g.second.output_len());
        conv_block_forward(
            &g,
            self.buffer(),
            weight1.buffer(),
            bias1.buffer(),
            gamma.buffer(),
            beta.buffer(),
            weight2.buffer(),
            bias2.buffer(),
            &mut z,
            &mut mean,
            &mut inverse_deviation,
            &mut y,
            &mut codes,
            &mut running.mean,
            &mut running.variance,
        );
        let x = self.buffer();
        let inputs = [self, weight1, gamma, beta, weight2, bias2];
        Tensor::from_op(output_shape(&g.second), y, &inputs, || ConvBlock {
            g,
            x: x.clone(),
            parameters: [weight1, bias1, gamma, beta, weight2]
                .map(|tensor| tensor.buffer().clone()),
            z,
            mean,
            inverse_deviation,
            codes,
        })
    }
}

#[track_caller]
fn block_geometry(x: &Tensor, parameters: &Parameters, settings: Settings) -> geometry::ConvBlock {
    let Parameters { weight1, bias1, gamma, beta, weight2, bias2 } = parameters;
    let Settings { windows, constants, tail } = settings;
    let first = conv_geometry("conv_block", x.shape(), weight1.shape(), windows[0]);
    for operand in [bias1, gamma, beta] {
        let [given] = operand.shape().expect("conv_block", "bias, gamma and beta of shape [P]");
        assert_eq!(given, first.out_channels(), "conv_block: channels between the convolutions");
    }
    let [images, height, width, channels] =
        [first.images(), first.out_height(), first.out_width(), first.out_channels()];
    let between = Shape::new(&[images, height, width, channels]);
    let second = conv_geometry("conv_block", between, weight2.shape(), windows[1]);
    let mut second = conv_pool_geometry("conv_block", second, bias2.shape(), tail);
    second.input_gradient = x.wants_gradient().into();
    let Constants { epsilon, momentum } = constants;
    geometry::ConvBlock { first, epsilon, momentum, second }
}

impl Backward for ConvBlock {
    fn name(&self) -> &'static str {
        "conv_block"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        let (g, device) = (&self.g, gradient.device());
        let channels = g.first.out_channels();
        let mut slot = |i: usize, len: usize| slots.slot_or_scratch(i, device, len);
        let mut dx = slot(0, 0);
        let mut dweight1 = slot(1, g.first.weight_len());
        let mut dgamma = slot(2, channels);
        let mut dbeta = slot(3, channels);
        let mut dweight2 = slot(4, g.second.conv.weight_len());
        let mut dbias2 = slot(5, g.second.conv.out_channels());
        let [weight1, bias1, gamma, beta, weight2] = &self.parameters;
        conv_block_backward(
            g,
            &gradient,
            &self.codes,
            &self.x,
            weight1,
            bias1,
            &self.z,
            gamma,
            beta,
            &self.mean,
            &self.inverse_deviation,
            weight2,
            &mut dx,
            &mut dweight1,
            &mut dgamma,
            &mut dbeta,
            &mut dweight2,
            &mut dbias2,
        );
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [c, p, o] = [draw.between(1, 2), draw.between(1, 3), draw.between(1, 3)];
    let [h, w] = [3 + draw.between(1, 3), 3 + draw.between(1, 3)];
    let tail = random_tail(draw, [h - 3, w - 3]);
    // A large epsilon keeps the curvature of tiny batches within what central differences
    // resolve.
    let constants = Constants { epsilon: 0.1, ..Constants::default() };
    let settings = Settings { windows: [Window::default(); 2], constants, tail };
    let x = Shape::new(&[draw.between(1, 3), h, w, c]);
    let (first, second) = (Shape::new(&[3, 3, c, p]), Shape::new(&[2, 2, p, o]));
    let shapes = [x, first, Shape::new(&[p]), Shape::new(&[p]), second, Shape::new(&[o])];
    let running = move |device: Device| RunningStatistics {
        mean: Buffer::zeros(device, p),
        variance: Buffer::zeros(device, p),
    };
    let no_pool = Tail { window: [1, 1], stride: 1, ..tail };
    let inputs = smooth_inputs(draw, &shapes, |x| {
        let convolved = x[0].conv2d(&x[1], Window::default());
        let mut running = running(x[0].device());
        let normal = convolved.batch_norm(&x[2], &x[3], &mut running, constants);
        let last = normal.relu().conv2d(&x[4], Window::default()).add_bias(&x[5]);
        is_smooth(&normal, no_pool) && is_smooth(&last, tail)
    });
    vec![Case {
        name: format!("conv_block {x} by {first} and {second}, {tail:?}"),
        inputs,
        function: Box::new(move |inputs| {
            let [x, weight1, gamma, beta, weight2, bias2] = inputs else { unreachable!() };
            let device = x.device();
            let bias1 = Tensor::from_buffer(Shape::new(&[p]), Buffer::zeros(device, p));
            let parameters = Parameters { weight1, bias1: &bias1, gamma, beta, weight2, bias2 };
            x.conv_block(&parameters, &mut running(device), settings)
        }),
    }]
}
