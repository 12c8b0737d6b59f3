//! What tests of parts of kernels need; whole kernels are tested by `tests/agree.rs`.

use super::memory::Memory;
use crate::buffer::{Buffer, Device, Element};
use crate::rng::Stream;

pub(super) use super::is_there;

/// Numbers from -1 to 1, the same ones in every run.
pub(super) fn draw(purpose: u32, len: usize) -> Vec<f64> {
    let stream = Stream { seed: 1, purpose, step: 0 };
    (0..len as u64).map(|i| f64::from(stream.uniform(i)) * 2.0 - 1.0).collect()
}

/// Memory with a block of its own that holds `values`, real numbers in f32.
pub(super) fn upload<T: Element>(values: &[T]) -> Memory {
    match Buffer::from_slice(Device::Gpu, values) {
        Buffer::Gpu(memory) => memory,
        _ => unreachable!("a buffer of the GPU"),
    }
}

/// What the memory holds.
#[track_caller]
pub(super) fn download<T: Element + Default>(memory: &Memory) -> Vec<T> {
    let values = Buffer::Gpu(memory.clone()).to_vec();
    assert_eq!(super::fault(), None);
    values
}

/// Fails if a number is further from what is expected than `tolerance`.
#[track_caller]
pub(super) fn assert_near(found: &Memory, expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in download::<f64>(found).iter().zip(expected).enumerate() {
        let is_near = (found - expected).abs() <= tolerance;
        assert!(is_near, "{found} instead of {expected} at {i}");
    }
}
