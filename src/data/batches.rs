//! The order in which an epoch goes through the training images.

use std::convert::Infallible;

use rand::rand_core::TryRng;
use rand::seq::SliceRandom;
use toile_kernels::rng::{Stream, purpose};

/// A random order of the images 0 to `count` - 1, a function of seed and epoch.
///
/// # Panics
/// If there are more than 2^32 images.
#[must_use]
pub fn shuffled(count: usize, seed: u64, epoch: u32) -> Vec<u32> {
    let count = u32::try_from(count).expect("at most 2^32 images");
    let mut order: Vec<u32> = (0..count).collect();
    let stream = Stream { seed, purpose: purpose::SHUFFLE, step: epoch };
    order.shuffle(&mut Words { stream, next: 0 });
    order
}

/// The words of a stream, one after the other, for `rand`'s algorithms.
struct Words {
    stream: Stream,
    next: u64,
}

impl TryRng for Words {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.next += 1;
        Ok(self.stream.word(self.next - 1))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.try_next_u32()?);
        Ok(u64::from(self.try_next_u32()?) << 32 | low)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            let word = self.try_next_u32()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_comes_once() {
        for count in [0, 1, 2, 1000] {
            let mut order = shuffled(count, 42, 3);
            order.sort_unstable();
            assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seed_and_epoch_change_the_order() {
        let orders = [(42, 0), (42, 1), (43, 0)].map(|(seed, epoch)| shuffled(100, seed, epoch));
        assert!(orders[0] != orders[1] && orders[0] != orders[2] && orders[1] != orders[2]);
        assert_eq!(orders[0], shuffled(100, 42, 0));
    }

    /// Over many epochs each image is at each place equally often: 5 sigma of the binomial.
    #[test]
    fn orders_are_uniform() {
        let (count, epochs) = (8, 8000);
        let mut seen = [[0u32; 8]; 8];
        for epoch in 0..epochs {
            for (place, &image) in shuffled(count, 1, epoch).iter().enumerate() {
                seen[place][image as usize] += 1;
            }
        }
        let (mean, deviation) = (1000.0, (8000.0f64 * (1.0 / 8.0) * (7.0 / 8.0)).sqrt());
        for n in seen.as_flattened() {
            assert!((f64::from(*n) - mean).abs() < 5.0 * deviation, "{seen:?}");
        }
    }
}
