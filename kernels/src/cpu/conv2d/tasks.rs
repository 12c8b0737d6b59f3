//! How the backward pass over a batch is cut into tasks.

use std::ops::Range;

use super::Convolution;
use crate::cpu::isa::Isa;
use crate::cpu::reduce::{tree_of_lines, tree_of_slices};
use crate::cpu::scratch::Scratch;
use crate::geometry::{Conv2d, shard_len};
use crate::threads::{self, Beside, Loop, Outputs, cut};

/// The tasks of a backward pass. A shard's weight gradient and its images' outputs, which is what
/// belongs to each image alone, are one of them.
///
/// But if that leaves workers without any, these are tasks apart, the outputs of fewer images and the
/// weight gradient of fewer input channels: then some things are computed several times, and each sum
/// is what it was.
pub(in crate::cpu) struct Tasks {
    batch: usize,
    shards: usize,
    /// Images of a shard.
    shard_len: usize,
    /// Input channels.
    channels: usize,
    /// Numbers of the weights behind all input channels at a tap.
    tap_len: usize,
    /// Into how many parts a shard's weight gradient is cut.
    parts: usize,
    /// Whether outputs are tasks apart from weight gradients.
    pub apart: bool,
    /// Of how many images a task computes outputs.
    pub images: usize,
}

/// Where a shard's weight gradient goes, as far as it is that of some input channels:
/// [tap][channel][output channel].
pub(in crate::cpu) struct PartOfGradient<'a> {
    pub numbers: &'a mut [f32],
    pub channels: Range<usize>,
}

impl Tasks {
    /// Those of a convolution of this geometry. If `has_outputs`, these take about as long as the
    /// weight gradient, else next to nothing.
    pub fn new(convolution: &Convolution, g: &Conv2d, has_outputs: bool) -> Tasks {
        let (batch, workers) = (g.images(), threads::sharing());
        let shard_len = shard_len(batch);
        let shards = batch.div_ceil(shard_len);
        let apart = shards < workers;
        let for_gradients = if has_outputs { workers / 2 } else { workers };
        let wanted = if apart { for_gradients / shards.max(1) } else { 1 };
        let fits = |parts: &usize| convolution.most_parts().is_multiple_of(*parts);
        Tasks {
            batch,
            shards,
            shard_len,
            channels: g.in_channels(),
            tap_len: g.in_channels() * g.out_channels(),
            parts: (1..=wanted).rev().find(fits).unwrap_or(1),
            apart,
            images: if apart { convolution.images_of_batch(batch) } else { shard_len },
        }
    }

    /// Runs them, and another loop beside them. `task` is given images and where to put their weight
    /// gradient and their outputs, of which one may be missing; the tree merges the shards' weight
    /// gradients to `dw`. The chunks of `outputs` are those of [`Tasks::images`] images each.
    pub fn gradients<O: Outputs>(
        &self,
        isa: Isa,
        dw: &mut [f32],
        outputs: O,
        beside: impl Loop,
        task: impl Fn(Range<usize>, Option<PartOfGradient>, Option<O::Chunk>) + Sync,
    ) {
        let len = dw.len();
        if self.shards * self.parts == 1 {
            return self.run(cut(dw, len), outputs, beside, task);
        }
        let mut sums = Scratch::new(self.shards * len);
        let mut sums = sums.write();
        self.run(cut(&mut sums, len / self.parts), outputs, beside, task);
        if self.parts == 1 {
            return tree_of_slices(isa, &sums, dw);
        }
        // The parts of a shard lie one after the other, and are to meet at each tap.
        let (part_len, line_len) = (len / self.parts, self.tap_len / self.parts);
        let line_of = |i: usize| i % self.parts * part_len + i / self.parts * line_len;
        tree_of_lines(isa, &sums, line_len, line_of, dw);
    }

    /// Calls `task` for all of them. `gradients` has a chunk for each part of each shard.
    fn run<'a, O: Outputs>(
        &self,
        gradients: impl Outputs<Chunk = &'a mut [f32]>,
        outputs: O,
        beside: impl Loop,
        task: impl Fn(Range<usize>, Option<PartOfGradient>, Option<O::Chunk>) + Sync,
    ) {
        let images_of = |i: usize, len: usize| i * len..self.batch.min((i + 1) * len);
        let part = |i: usize, numbers| {
            let (channels, place) = (self.channels / self.parts, i % self.parts);
            PartOfGradient { numbers, channels: place * channels..(place + 1) * channels }
        };
        if self.apart {
            let of_weights = |i: usize, numbers| {
                task(images_of(i / self.parts, self.shard_len), Some(part(i, numbers)), None);
            };
            let of_outputs = |i, out| task(images_of(i, self.images), None, Some(out));
            let others = Beside(beside, (outputs, of_outputs));
            threads::run(Beside((gradients, of_weights), others));
        } else {
            let of_shards = |i: usize, (numbers, out)| {
                task(images_of(i, self.shard_len), Some(part(i, numbers)), Some(out));
            };
            threads::run(Beside(((gradients, outputs), of_shards), beside));
        }
    }
}
