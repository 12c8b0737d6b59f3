//! How the backward pass over a batch is cut into tasks.

use std::ops::Range;

use crate::cpu::isa::Isa;
use crate::cpu::reduce::tree_of_slices;
use crate::cpu::scratch::Scratch;
use crate::geometry::shard_len;
use crate::threads::{self, Outputs, cut};

/// The tasks of a backward pass: a shard's weight gradient and what belongs to its images alone, their
/// outputs, are one. But if that leaves workers without any, they are tasks apart, the outputs of fewer
/// images: then some things are computed twice, with the same bits.
pub(in crate::cpu) struct Tasks {
    batch: usize,
    /// Whether outputs are tasks apart from weight gradients.
    apart: bool,
    /// Of how many images a task computes outputs.
    pub images: usize,
}

impl Tasks {
    /// For a batch of `batch` images; outputs are computed of at least `few` images at a time.
    pub fn new(batch: usize, few: usize) -> Tasks {
        let shard_len = shard_len(batch);
        let apart = batch.div_ceil(shard_len) < threads::count_here();
        Tasks { batch, apart, images: if apart { few } else { shard_len } }
    }

    /// The same where outputs are those of whole shards.
    pub fn of_shards(batch: usize) -> Tasks {
        Tasks::new(batch, shard_len(batch))
    }

    /// Runs them. `task` is given images and where to put their weight gradient and their outputs, of
    /// which one may be missing; the tree merges the shards' weight gradients to `dw`. The chunks of
    /// `outputs` are those of [`Tasks::images`] images each.
    pub fn gradients<O: Outputs>(
        &self,
        isa: Isa,
        dw: &mut [f32],
        outputs: O,
        task: impl Fn(Range<usize>, Option<&mut [f32]>, Option<O::Chunk>) + Sync,
    ) {
        let (shard_len, len) = (shard_len(self.batch), dw.len());
        let shards = self.batch.div_ceil(shard_len);
        if shards == 1 {
            return self.run(cut(dw, len), outputs, task);
        }
        let mut parts = Scratch::new(shards * len);
        let mut parts = parts.write();
        self.run(cut(&mut parts, len), outputs, task);
        tree_of_slices(isa, &parts, len, dw);
    }

    fn run<'a, O: Outputs>(
        &self,
        weights: impl Outputs<Chunk = &'a mut [f32]>,
        outputs: O,
        task: impl Fn(Range<usize>, Option<&mut [f32]>, Option<O::Chunk>) + Sync,
    ) {
        let shard_len = shard_len(self.batch);
        let range = |i: usize, images: usize| i * images..self.batch.min((i + 1) * images);
        if self.apart {
            let of_weights = |i, dw| task(range(i, shard_len), Some(dw), None);
            let of_outputs = |i, out| task(range(i, self.images), None, Some(out));
            threads::both((weights, of_weights), (outputs, of_outputs));
        } else {
            threads::each((weights, outputs), |i, (dw, out)| {
                task(range(i, shard_len), Some(dw), Some(out));
            });
        }
    }
}
