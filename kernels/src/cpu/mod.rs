//! The menu on the CPU: SIMD over one small trait, threads over images. `README.md` in this
//! folder explains packing, tiles and the orders of sums.

pub mod arch;
pub mod im2col;
pub mod isa;
pub mod simd;

mod adam;
mod augment;
mod batch_norm;
mod channels;
mod check_gradients;
pub mod conv2d;
mod conv_block;
mod conv_pool;
mod cross_entropy;
mod elementwise;
mod finish;
mod gather;
mod gemm;
mod handover;
pub mod inference;
mod math;
mod mix;
mod moments;
mod panels;
mod pool;
mod products;
mod reduce;
mod scratch;
mod sgd;
mod soft_cross_entropy;
mod targets;
mod tile;

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
