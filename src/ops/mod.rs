//! The operations: one file each, with its formula and shapes, its forward pass, what it keeps,
//! its backward pass, and the cases on which its gradients are checked.
//!
//! To add one: write `ops/<op>.rs` and its two lines here.

pub mod add;
pub mod augment;
pub mod batch_norm;
pub mod bias;
pub mod conv2d;
pub mod conv_block;
pub mod conv_pool;
pub mod cross_entropy;
pub mod dropout;
pub mod gather;
pub mod linear;
pub mod max_pool2d;
pub mod mix;
pub mod relu;
pub mod reshape;
pub mod soft_cross_entropy;
pub mod targets;

use crate::autograd::{Backward, GradientSlots};
use crate::gradcheck::Cases;
use toile_kernels::Buffer;

/// Every operation: the name of its file, and its gradient-check cases.
pub const ALL: &[(&str, Cases)] = &[
    ("add", add::cases),
    ("augment", augment::cases),
    ("batch_norm", batch_norm::cases),
    ("bias", bias::cases),
    ("conv2d", conv2d::cases),
    ("conv_block", conv_block::cases),
    ("conv_pool", conv_pool::cases),
    ("cross_entropy", cross_entropy::cases),
    ("dropout", dropout::cases),
    ("gather", gather::cases),
    ("linear", linear::cases),
    ("max_pool2d", max_pool2d::cases),
    ("mix", mix::cases),
    ("relu", relu::cases),
    ("reshape", reshape::cases),
    ("soft_cross_entropy", soft_cross_entropy::cases),
    ("targets", targets::cases),
];

/// The function object of an operation that has no derivative here: asking for one panics by
/// name.
struct NoGradient(&'static str);

impl Backward for NoGradient {
    fn name(&self) -> &'static str {
        self.0
    }
    fn backward(self: Box<Self>, _: Buffer, _: &mut GradientSlots) {
        panic!("{}: this operation has no gradient", self.0);
    }
}
