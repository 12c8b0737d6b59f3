//! y = x / (1 - rate) where the mask keeps, else 0; dx is the same function of dy. Any shape.
//!
//! The mask is a function of seed, layer, step and place (Philox), so it is drawn again in the
//! backward pass instead of being stored.

use toile_kernels::rng::Stream;
use toile_kernels::{Buffer, dropout, geometry};

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// The mask's name is all that is kept.
struct Dropout {
    g: geometry::Dropout,
}

impl Tensor {
    /// Sets the share `rate` of the numbers to 0 and scales the others up, by the mask that
    /// `stream` names.
    ///
    /// # Panics
    /// If the rate is not at least 0 and below 1.
    #[must_use]
    #[track_caller]
    pub fn dropout(&self, rate: f32, stream: Stream) -> Tensor {
        let g = dropout_geometry("dropout", self.shape().len(), rate, stream);
        let mut y = self.buffer_for(g.len());
        dropout(&g, self.buffer(), &mut y);
        Tensor::from_op(self.shape(), y, &[self], || Dropout { g })
    }
}

/// The geometry of dropout over `len` numbers.
#[track_caller]
pub(super) fn dropout_geometry(
    op: &str,
    len: usize,
    rate: f32,
    stream: Stream,
) -> geometry::Dropout {
    assert!((0.0..1.0).contains(&rate), "{op}: expected a rate in 0..1, found {rate}");
    geometry::Dropout {
        len: size(len),
        seed_low: stream.seed as u32,
        seed_high: (stream.seed >> 32) as u32,
        purpose: stream.purpose,
        step: stream.step,
        rate,
    }
}

impl Backward for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn backward(self: Box<Self>, gradient: Buffer, slots: &mut GradientSlots) {
        dropout(&self.g, &gradient, &mut slots.slot(0));
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let shape = Shape::new(&[draw.size(), draw.size(), draw.size()]);
    let rate = draw.between(0, 9) as f32 / 10.0;
    let stream = Stream { seed: draw.between(0, 1000) as u64, purpose: 1, step: 2 };
    vec![Case {
        name: format!("dropout {shape}, rate {rate}"),
        inputs: vec![(shape, draw.reals(shape.len()))],
        function: Box::new(move |x| x[0].dropout(rate, stream)),
    }]
}
