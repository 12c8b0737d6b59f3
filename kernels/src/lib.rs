//! The compute kernels of toile.
