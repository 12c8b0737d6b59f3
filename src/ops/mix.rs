//! A batch mixed with itself in reverse order: `share[i] x[i] + (1 - share[i]) x[N - 1 - i]`, or x
//! with rectangles of the partner; [N, H, W, C] -> [N, H, W, C] and N shares. Batches are
//! shuffled, so this partner is a random one. Only images are mixed, so it has no gradient.

use serde::{Deserialize, Serialize};
use toile_kernels::geometry::{self, CUTMIX, MIXUP};
use toile_kernels::{Buffer, mix};

use super::NoGradient;
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// How two images become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mix {
    /// Every pixel is a weighted mean of both (Zhang et al., arXiv:1710.09412).
    Mixup,
    /// A rectangle of the one is pasted into the other (Yun et al., arXiv:1905.04899).
    Cutmix,
}

/// Whether and how training images are mixed with each other; the default is not at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixing {
    /// How.
    pub method: Mix,
    /// Shares come from Beta(alpha, alpha); 0 for no mixing.
    pub alpha: f64,
}

impl Default for Mixing {
    fn default() -> Self {
        Mixing { method: Mix::Mixup, alpha: 0.0 }
    }
}

impl Tensor {
    /// These images mixed with their partners, and each image's own share of the result, 0 to 1,
    /// for [`soft_targets`](super::targets::soft_targets).
    ///
    /// Each image's share comes from Beta(`alpha`, `alpha`), a function of seed, step and place in
    /// the batch. CutMix's is what its rectangle, cut off at the border, leaves.
    ///
    /// # Panics
    /// If this is not [N, H, W, C], or `alpha` is not above 0 and finite.
    #[must_use]
    #[track_caller]
    pub fn mixed(&self, method: Mix, alpha: f32, seed: u64, step: u32) -> (Tensor, Buffer) {
        let [images, height, width, channels] =
            self.shape().expect("mix", "images [N, H, W, C]").map(size);
        let g = geometry::Mix {
            images,
            height,
            width,
            channels,
            method: match method {
                Mix::Mixup => MIXUP,
                Mix::Cutmix => CUTMIX,
            },
            seed_low: seed as u32,
            seed_high: (seed >> 32) as u32,
            step,
            alpha,
        };
        if let Some(fault) = g.fault() {
            panic!("mix: {fault}: {}, alpha {alpha}", self.shape());
        }
        let (mut mixed, mut shares) = (self.buffer_for(g.len()), self.buffer_for(g.images()));
        mix(&g, self.buffer(), &mut mixed, &mut shares);
        (Tensor::from_op(self.shape(), mixed, &[self], || NoGradient("mix")), shares)
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let shape = Shape::new(&[draw.size(), draw.size(), draw.size(), 1]);
    let values = draw.reals(shape.len());
    vec![Case {
        name: format!("mix {shape}"),
        inputs: vec![],
        function: Box::new(move |_| {
            let x = Tensor::new(toile_kernels::Device::Reference, shape, &values);
            x.mixed(Mix::Mixup, 0.4, 1, 2).0
        }),
    }]
}
