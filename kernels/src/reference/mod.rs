//! The truth: every kernel of the menu as plain loops, in `f32` and in `f64`.
//!
//! This is the place to read what a kernel computes. The loops are the shortest clear ones, without
//! SIMD, threads or blocking; the device [`crate::Device::Reference`] runs them in `f64`, and every
//! fast kernel is tested against them. They also fix the *order* of each sum, so that in `f32` the
//! fast kernels return the same bits, but for convolutions by Winograd's algorithm, one gradient of
//! thin blocks, and what has exp or ln in it:
//!
//! - An output of a matrix product or a convolution is one chain `acc = a * b + acc`, rounded once
//!   a term ([`num_traits::Float::mul_add`]), from 0 with the depth ascending.
//! - A sum over a batch runs through each shard of [`shard_len`] images in order; the shards' sums
//!   are merged by [`tree_sum`].
//! - A sum over a channel of images is a chain over the pixels of each image, and from there on
//!   in `f64`: over the images of a shard in order, over the shards by [`tree_sum`], rounded once
//!   at the end.

// Formulas name their elements by index, and so do these loops.
#![allow(clippy::needless_range_loop, reason = "indices are what the formulas have")]

mod adam;
mod augment;
mod batch_norm;
mod check_gradients;
mod conv2d;
mod conv_block;
mod conv_pool;
mod cross_entropy;
mod elementwise;
mod gather;
mod gemm;
mod mix;
mod pool;
mod sgd;
mod soft_cross_entropy;
mod targets;

use std::ops::Range;

pub use adam::adam;
pub use augment::augment;
pub use batch_norm::{batch_norm_backward, batch_norm_forward, batch_norm_inference};
pub use check_gradients::check_gradients;
pub use conv_block::{conv_block_backward, conv_block_forward};
pub use conv_pool::{conv_pool_backward, conv_pool_forward};
pub use conv2d::{conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
pub use cross_entropy::{cross_entropy_backward, cross_entropy_forward, softmax};
pub use elementwise::{
    add_assign, bias_backward, bias_forward, dropout, move_towards, relu_backward, relu_forward,
};
pub use gather::{gather, gather_labels};
pub use gemm::{gemm_nn, gemm_nt, gemm_tn};
pub use mix::mix;
pub use pool::{max_pool2d_backward, max_pool2d_forward};
pub use sgd::sgd;
pub use soft_cross_entropy::{soft_cross_entropy_backward, soft_cross_entropy_forward};
pub use targets::targets;

use crate::geometry::shard_len;

/// A real number: `f32` or `f64`.
pub trait Real: num_traits::Float + Into<f64> {
    /// The nearest number of this type.
    fn nearest(x: f64) -> Self;
}

impl Real for f32 {
    fn nearest(x: f64) -> f32 {
        x as f32
    }
}

impl Real for f64 {
    fn nearest(x: f64) -> f64 {
        x
    }
}

/// Merges parts by the fixed tree: neighbours (0, 1), (2, 3), ... are added level by level, and an
/// odd last part passes up as it is. `None` where there are no parts.
///
/// ```
/// use toile_kernels::reference::tree_sum;
/// let parts = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
/// let sum = tree_sum(parts, |left, right| format!("({left}+{right})"));
/// assert_eq!(sum.unwrap(), "(((a+b)+(c+d))+e)");
/// ```
pub fn tree_sum<P>(mut parts: Vec<P>, add: impl Fn(P, P) -> P) -> Option<P> {
    while parts.len() > 1 {
        let mut level = parts.into_iter();
        parts = Vec::new();
        while let Some(left) = level.next() {
            parts.push(match level.next() {
                Some(right) => add(left, right),
                None => left,
            });
        }
    }
    parts.pop()
}

/// The shards of a batch, as ranges of batch positions.
fn shards(batch: usize) -> impl Iterator<Item = Range<usize>> {
    let len = shard_len(batch);
    (0..batch).step_by(len).map(move |start| start..batch.min(start + len))
}

/// The sum of `term(i)` over a batch: in order within a shard, by the tree over the shards.
fn batch_sum(batch: usize, term: impl Fn(usize) -> f64) -> f64 {
    let sums = shards(batch).map(|shard| shard.fold(0.0, |sum, i| sum + term(i))).collect();
    tree_sum(sums, |a, b| a + b).unwrap_or(0.0)
}
