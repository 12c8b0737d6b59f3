//! Kernels for a graphics card: our own compute shaders through wgpu, on Vulkan, Metal or DX12.
//!
//! Same names and same files as in [`crate::cpu`]; a kernel's shader has the file's name in
//! `kernels/shaders`. A function here says which shaders run, on which operands and over how many
//! threads; it records them and returns at once. Work is handed to the device in order, by a copy
//! in or out, or when much has been recorded.
//!
//! One device serves the process: [`open`] chooses it. Nothing here returns an error or panics
//! for the device's sake: the first [`Fault`] is kept, later work is dropped, copies out give
//! NaN (other kinds of numbers: all bits set), and [`fault`] says what happened. Who reads results
//! asks it.
//!
//! Sums have one order, a function of the shape, and nothing is added atomically: two runs on one
//! device and driver give the same bits. Other devices may round otherwise. Random words are
//! those of [`crate::rng`], bit for bit.

mod adam;
mod augment;
mod batch_norm;
mod channels;
mod check_gradients;
mod context;
mod conv2d;
mod conv_block;
mod conv_pool;
mod cross_entropy;
mod dispatch;
mod elementwise;
mod fault;
mod gather;
mod gemm;
mod memory;
mod mix;
mod pipelines;
mod pool;
mod product;
mod profile;
mod recorder;
mod sgd;
mod shaders;
mod soft_cross_entropy;
mod tables;
mod targets;

#[cfg(test)]
mod testing;

pub use adam::adam;
pub use augment::augment;
pub use batch_norm::{batch_norm_backward, batch_norm_forward, batch_norm_inference};
pub use check_gradients::check_gradients;
pub use context::{Counters, Opened, counters, fault, is_there, open};
pub use conv_block::{conv_block_backward, conv_block_forward};
pub use conv_pool::{conv_pool_backward, conv_pool_forward};
pub use conv2d::{conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
pub use cross_entropy::{cross_entropy_backward, cross_entropy_forward, softmax};
pub use elementwise::{
    add_assign, bias_backward, bias_forward, dropout, fill, move_towards, relu_backward,
    relu_forward,
};
pub use fault::Fault;
pub use gather::{gather, gather_labels};
pub use gemm::{gemm_nn, gemm_nt, gemm_tn};
pub use memory::Memory;
pub use mix::mix;
pub use pool::{max_pool2d_backward, max_pool2d_forward};
pub use profile::{Timing, peak_flops, profile};
pub use sgd::sgd;
pub use shaders::{SHADERS, source};
pub use soft_cross_entropy::{soft_cross_entropy_backward, soft_cross_entropy_forward};
pub use targets::targets;
