//! toile: a CNN engine written from scratch, and a trainer for Fashion-MNIST on top of it.
#![forbid(unsafe_code)]

pub mod data;
pub mod error;
pub mod evaluate;
pub mod metrics;
pub mod progress;
pub mod recipe;
pub mod run_folder;
pub mod schedule;
pub mod train;
