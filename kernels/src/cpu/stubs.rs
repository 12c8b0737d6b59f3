//! Stand-ins.
pub use crate::reference::{
    conv2d_backward_input, conv2d_backward_weight, conv2d_forward, gemm_nn, gemm_nt, gemm_tn,
};
