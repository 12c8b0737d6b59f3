//! Means and squared deviations of channels: of each image in f32, of the batch in f64.

use std::ops::Range;

use super::channels::{ChannelBlock, channel_blocks, store_channels, tree, widen};
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::{BatchNorm, shard_len};

/// Mean and sum of squared deviations of an image's pixels: [P, C] -> \[C\] \[C\]
pub(super) struct ImageMoments<'a> {
    pub image: &'a [f32],
    pub means: &'a mut [f32],
    pub squares: &'a mut [f32],
}

impl Kernel for ImageMoments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        channel_blocks(s, self.means.len(), &mut self);
    }
}

impl ChannelBlock for ImageMoments<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize) {
        let channels = self.means.len();
        let pixels = || (channel..self.image.len()).step_by(channels);
        let mut means = [s.splat(0.0); VECTORS];
        for pixel in pixels() {
            for (i, mean) in means.iter_mut().enumerate() {
                *mean = s.add(*mean, s.load_slice(&self.image[pixel + i * LANES..]));
            }
        }
        let count = s.splat((self.image.len() / channels) as f32);
        for mean in &mut means {
            *mean = s.div(*mean, count);
        }
        let mut squares = [s.splat(0.0); VECTORS];
        for pixel in pixels() {
            for (i, (square, &mean)) in squares.iter_mut().zip(&means).enumerate() {
                let deviation = s.sub(s.load_slice(&self.image[pixel + i * LANES..]), mean);
                *square = s.fma(deviation, deviation, *square);
            }
        }
        store_channels(s, self.means, channel, &means);
        store_channels(s, self.squares, channel, &squares);
    }
}

/// The moments of [`LANES`] channels over the same number of pixels.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    means: [f64; LANES],
    squares: [f64; LANES],
}

impl Moments {
    const NONE: Moments = Moments { count: 0.0, means: [0.0; LANES], squares: [0.0; LANES] };

    /// The moments of both sets together (Chan, Golub and LeVeque, 1979).
    #[inline(always)]
    fn merge(&mut self, other: &Moments) {
        let count = self.count + other.count;
        let (share, between) = (other.count / count, self.count * other.count / count);
        for lane in 0..LANES {
            let delta = other.means[lane] - self.means[lane];
            self.means[lane] += delta * share;
            self.squares[lane] = self.squares[lane] + other.squares[lane] + delta * delta * between;
        }
        self.count = count;
    }
}

/// Merges the images' moments, [N, C] [N, C], of channels `range`, and calls
/// `finish(i, count, mean, squares)` for the i-th of these.
pub(super) struct MergeMoments<'a, F> {
    pub g: &'a BatchNorm,
    pub range: Range<usize>,
    pub means: &'a [f32],
    pub squares: &'a [f32],
    pub finish: F,
}

impl<F: FnMut(usize, f64, f64, f64)> Kernel for MergeMoments<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let shards = self.g.images().div_ceil(shard_len(self.g.images()));
        for channel in self.range.clone().step_by(LANES) {
            let shard = |shard| self.shard(s, shard, channel);
            let all = tree(Moments::NONE, shards, shard, |mut left, right| {
                left.merge(&right);
                left
            });
            for lane in 0..LANES.min(self.range.end - channel) {
                let i = channel - self.range.start + lane;
                (self.finish)(i, all.count, all.means[lane], all.squares[lane]);
            }
        }
    }
}

// Methods and not closures: only they can be told to be inlined, see `Kernel`.
impl<F> MergeMoments<'_, F> {
    /// The moments of an image. Lanes beyond the last channel hold whatever lies there.
    #[inline(always)]
    fn image<S: Simd>(&self, s: S, n: usize, channel: usize) -> Moments {
        let at = n * self.g.channels() + channel;
        Moments {
            count: self.g.pixels() as f64,
            means: widen(s, &self.means[at..]),
            squares: widen(s, &self.squares[at..]),
        }
    }

    #[inline(always)]
    fn shard<S: Simd>(&self, s: S, shard: usize, channel: usize) -> Moments {
        let len = shard_len(self.g.images());
        let first = shard * len;
        let mut moments = self.image(s, first, channel);
        for n in first + 1..self.g.images().min(first + len) {
            moments.merge(&self.image(s, n, channel));
        }
        moments
    }
}
