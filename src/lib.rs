//! toile: a CNN engine written from scratch, and a trainer for Fashion-MNIST on top of it.
#![forbid(unsafe_code)]

pub mod autograd;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod gradcheck;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod progress;
pub mod recipe;
pub mod run_folder;
pub mod schedule;
pub mod train;

mod shape;
mod tensor;

pub use error::{Error, Result};
pub use shape::Shape;
pub use tensor::Tensor;
pub use toile_kernels::{Buffer, Device};
