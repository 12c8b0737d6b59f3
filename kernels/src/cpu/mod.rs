//! The menu on the CPU: SIMD over one small trait, threads over images. `README.md` in this
//! folder explains packing, tiles and the orders of sums.

pub mod arch;
pub mod im2col;
pub mod isa;
pub mod simd;

mod conv2d;
mod gemm;
mod reduce;
mod scratch;
mod tile;

pub use conv2d::{conv2d_backward_input, conv2d_backward_weight, conv2d_forward};
pub use gemm::{gemm_nn, gemm_nt, gemm_tn};

pub use crate::reference::*;
