//! toile: a CNN engine written from scratch, and a trainer for Fashion-MNIST on top of it.
//!
//! A whole training run in small: a network from a list of layers, a forward pass that is
//! recorded, a loss, its gradients, an update.
//!
//! ```
//! use toile::nn::{BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, Relu, Sequential};
//! use toile::optim::{Optimizer, OptimizerSettings};
//! use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor};
//!
//! // Sixteen images of 8x8 pixels: bright on the left is class 0, bright on the right class 1.
//! let side = |pixel: usize| pixel % 8 / 4;
//! let pixels: Vec<f32> = (0..16 * 64).map(|i| f32::from(side(i) == i / 64 % 2)).collect();
//! let images = Tensor::new(Device::Cpu, Shape::new(&[16, 8, 8, 1]), &pixels);
//! let labels: Vec<u8> = (0..16).map(|image| image % 2).collect();
//! let labels = Buffer::from_slice(Device::Cpu, &labels);
//!
//! let seed = 42;
//! let layers = [
//!     Conv2d::new(4, 3).into(),
//!     BatchNorm::default().into(),
//!     Relu {}.into(),
//!     MaxPool2d::new(2).into(),
//!     Flatten {}.into(),
//!     Dense::new(2).into(),
//! ];
//! let mut network = Sequential::new(&layers, images.shape().of_one(), Device::Cpu, seed);
//! let mut optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
//! let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
//! let mut losses = Vec::new();
//! for step in 0..20 {
//!     let logits = network.forward_train(&images, seed, step);
//!     let loss = logits.cross_entropy(&labels, &mut summary);
//!     let gradients = loss.mean.backward();
//!     network.parameters().check_reached(&gradients);
//!     optimizer.update(network.parameters(), 1e-2, step.into(), &mut summary);
//!     losses.push(summary.to_vec::<f32>()[0]);
//! }
//! assert!(losses[19] < losses[0] / 2.0, "{losses:?}");
//! ```
//!
//! # The map
//!
//! In the order in which a newcomer reads it, from one operation to a whole run:
//!
//! | | |
//! |---|---|
//! | [`Shape`] | the sizes of a tensor, and the one text for those that do not fit |
//! | [`Tensor`] | a shape, its numbers, and where they came from if a gradient is wanted |
//! | [`ops`] | the operations, a file each: formula, forward, what is kept, backward; begin with `relu` |
//! | [`autograd`] | goes back through the recorded operations and adds gradients up |
//! | [`gradcheck`] | each backward against finite differences, in f64 |
//! | [`nn`] | layers, their parameters, and networks that are lists of layers |
//! | [`models`] | the named networks |
//! | [`optim`] | the update of the parameters |
//! | [`schedule`] | the learning rate over a run, its best weights and its end |
//! | [`data`] | finds, checks and reads data sets; puts epochs in order |
//! | [`error`] | the faults of files, disks and devices, and their exit codes |
//! | [`recipe`] | the settings of an experiment, and where they come from |
//! | [`run_folder`] | the folder of a run: claimed, written, found again |
//! | [`checkpoint`] | model files |
//! | [`metrics`] | from answers to accuracy, precision, recall and confusion |
//! | [`plots`] | the pictures of a run folder |
//! | [`progress`] | what people and programs see of a run |
//! | [`train`], [`evaluate`], [`predict`], [`tune`] | the calls behind the programs of the same names |
//!
//! The numbers themselves are computed by the crate [`toile_kernels`], whose front page is the
//! menu of all kernels. Who may import whom is the table in `tests/layering.rs`, which is kept.
//!
//! # Letters in shapes
//!
//! N is the batch, H and W are height and width, C channels that come in and O channels that go
//! out, Kh and Kw the sizes of a kernel, H' and W' those of its result, K classes. Images are
//! [N, H, W, C], convolution weights [Kh, Kw, C, O], dense weights [in, out].
#![forbid(unsafe_code)]

pub mod autograd;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod evaluate;
mod files;
pub mod gradcheck;
mod memory;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plots;
pub mod predict;
pub mod progress;
pub mod recipe;
pub mod run_folder;
pub mod schedule;
pub mod train;
pub mod tune;

mod shape;
mod tensor;

pub use error::{Error, Result};
pub use shape::Shape;
pub use tensor::Tensor;
pub use toile_kernels::geometry::SUMMARY_LEN;
pub use toile_kernels::{Buffer, Device};

/// The README's program is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
