//! Sums over images and pixels, a channel at a time: chains over the pixels of an image in f32,
//! then the totals over the batch in f64.
//!
//! Vectors run across channels, so a channel's chain is the same on every instruction set, and
//! nothing is ever added across lanes.

use std::ops::Range;

use super::isa::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::shard_len;
use crate::threads;

/// Work on `VECTORS` vectors of neighbouring channels, the first of which is `channel`.
pub(super) trait ChannelBlock {
    /// The body; must be `#[inline(always)]`.
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize);
}

/// Calls `block` for all channels, as many at a time as hide the latency of the chains.
#[inline(always)]
pub(super) fn channel_blocks<S: Simd>(s: S, channels: usize, block: &mut impl ChannelBlock) {
    let mut channel = 0;
    while channel < channels {
        channel += LANES
            * match (channels - channel).div_ceil(LANES) {
                4.. => {
                    block.run::<S, 4>(s, channel);
                    4
                }
                2..=3 => {
                    block.run::<S, 2>(s, channel);
                    2
                }
                _ => {
                    block.run::<S, 1>(s, channel);
                    1
                }
            };
    }
}

/// `VECTORS` vectors of `from`, of which the first starts at `channel`.
#[inline(always)]
pub(super) fn load_channels<S: Simd, const VECTORS: usize>(
    s: S,
    from: &[f32],
    channel: usize,
) -> [S::V; VECTORS] {
    let mut vectors = [s.splat(0.0); VECTORS];
    for (i, vector) in vectors.iter_mut().enumerate() {
        *vector = s.load_slice(&from[channel + i * LANES..]);
    }
    vectors
}

/// Writes sums of channels `channel..` as far as `to` goes.
#[inline(always)]
pub(super) fn store_channels<S: Simd>(s: S, to: &mut [f32], channel: usize, sums: &[S::V]) {
    for (to, &sum) in to[channel..].chunks_mut(LANES).zip(sums) {
        s.store_slice(to, sum);
    }
}

/// The sums of an image's pixels: [P, C] -> \[C\]
pub(super) struct PixelSums<'a> {
    /// One image.
    pub image: &'a [f32],
    /// Where the C sums go.
    pub sums: &'a mut [f32],
}

impl Kernel for PixelSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        channel_blocks(s, self.sums.len(), &mut self);
    }
}

impl ChannelBlock for PixelSums<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(&mut self, s: S, channel: usize) {
        let mut sums = [s.splat(0.0); VECTORS];
        for pixel in (channel..self.image.len()).step_by(self.sums.len()) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.load_slice(&self.image[pixel + i * LANES..]));
            }
        }
        store_channels(s, self.sums, channel, &sums);
    }
}

/// Levels of a tree over the shards of a batch: enough for 2^28 shards.
const MAX_LEVELS: usize = 28;

/// The first [`LANES`] numbers of `from` in f64; missing ones are 0.
#[inline(always)]
pub(super) fn widen<S: Simd>(s: S, from: &[f32]) -> [f64; LANES] {
    let mut lanes = [0.0; LANES];
    s.store_slice(&mut lanes, s.load_slice(from));
    let mut wide = [0.0; LANES];
    for (wide, lane) in wide.iter_mut().zip(lanes) {
        *wide = lane.into();
    }
    wide
}

/// The tree of [`crate::reference::tree_sum`] over `part(0)`, `part(1)`, ... `part(count - 1)`,
/// which are asked for in this order and not kept: like counting in binary, where every carry
/// merges two parts.
#[inline(always)]
pub(super) fn tree<P: Copy>(
    none: P,
    count: usize,
    part: impl Fn(usize) -> P,
    merge: impl Fn(P, P) -> P,
) -> P {
    let mut levels = [none; MAX_LEVELS];
    for i in 0..count {
        let carries = i.trailing_ones() as usize;
        levels[carries] = levels[..carries].iter().fold(part(i), |sum, &left| merge(left, sum));
    }
    let left_over = (0..levels.len()).filter(|level| count >> level & 1 == 1);
    left_over.map(|level| levels[level]).reduce(|sum, left| merge(left, sum)).unwrap_or(none)
}

/// Channels whose numbers over a batch a task merges.
pub(super) const TASK_CHANNELS: usize = 4 * LANES;

/// Totals over the batch of what each image has summed up, [N, C] -> \[C\].
pub(super) fn totals(isa: Isa, sums: &[f32], out: &mut [f32]) {
    let channels = out.len();
    threads::chunks(out, TASK_CHANNELS, |task, out| {
        let range = task * TASK_CHANNELS..task * TASK_CHANNELS + out.len();
        totals_of(isa, sums, channels, range, |i, total| out[i] = total as f32);
    });
}

/// The totals of channels `range` out of [N, C], in f64: `finish(i, total)` is given that of the i-th.
pub(super) fn totals_of(
    isa: Isa,
    sums: &[f32],
    channels: usize,
    range: Range<usize>,
    finish: impl FnMut(usize, f64),
) {
    isa.run(Totals { sums, channels, range, finish });
}

struct Totals<'a, F> {
    sums: &'a [f32],
    channels: usize,
    range: Range<usize>,
    finish: F,
}

impl<F: FnMut(usize, f64)> Kernel for Totals<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.channels;
        let numbers = shard_len(self.sums.len() / channels.max(1)) * channels;
        let shards = self.sums.len().div_ceil(numbers.max(1));
        for channel in self.range.clone().step_by(LANES) {
            // Lanes beyond the last channel sum up whatever lies there, and are cut off.
            let shard_sum = |shard: usize| {
                let mut sum = [0.0; LANES];
                let from = shard * numbers + channel;
                let to = self.sums.len().min((shard + 1) * numbers);
                for image in (from..to).step_by(channels) {
                    add(&mut sum, &widen(s, &self.sums[image..]));
                }
                sum
            };
            let total = tree([0.0; LANES], shards, shard_sum, |mut left, right| {
                add(&mut left, &right);
                left
            });
            for (lane, &total) in total[..LANES.min(self.range.end - channel)].iter().enumerate() {
                (self.finish)(channel - self.range.start + lane, total);
            }
        }
    }
}

#[inline(always)]
fn add(sum: &mut [f64; LANES], x: &[f64; LANES]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

#[cfg(test)]
mod tests {
    use super::tree;
    use crate::reference::tree_sum;

    /// Merging is not associative here, so equal results mean equal trees.
    #[test]
    fn tree_is_the_reference_tree() {
        let merge = |a: u64, b: u64| (a.wrapping_mul(31) ^ b).wrapping_mul(0x9E37_79B9);
        for count in 0..70 {
            let parts: Vec<u64> = (0..count).map(|i| i * i + 7).collect();
            let expected = tree_sum(parts.clone(), merge);
            assert_eq!(tree(0, parts.len(), |i| parts[i], merge), expected.unwrap_or(0));
        }
    }
}
