//! A convolution, its activation and its pool, of which only some rows or channels are wanted.

use std::ops::Range;

use super::{After, Pool, Step, What};
use crate::cpu::conv2d::Convolution;
use crate::cpu::finish::Finish;
use crate::cpu::isa::Isa;
use crate::cpu::panels::PanelsView;
use crate::cpu::scratch::Scratch;
use crate::geometry::Pool2d;

/// A convolution and what follows it.
pub(super) struct ConvLayer<'a> {
    isa: Isa,
    pub convolution: &'a Convolution,
    pub weights: PanelsView<'a>,
    pub after: &'a After,
}

impl ConvLayer<'_> {
    /// The convolution that a step is for a single image on several threads.
    pub fn of(isa: Isa, step: &Step) -> ConvLayer<'_> {
        match &step.what {
            What::Conv { convolution, weights, single, after } => {
                let (convolution, weights) = single
                    .as_deref()
                    .map_or((convolution, weights), |(alone, packed)| (alone, packed));
                ConvLayer { isa, convolution, weights: weights.view(), after }
            }
            _ => unreachable!("another step"),
        }
    }

    /// Height, width and channels of the result of one image.
    pub fn output(&self) -> [usize; 3] {
        let pooled = |pool: Pool2d| [pool.out_height(), pool.out_width(), pool.channels()];
        self.after.pool.map_or_else(|| self.convolution.output(), pooled)
    }

    /// Rows of the result that are best computed together.
    pub fn rows_together(&self) -> usize {
        let stride = self.after.pool.map_or(1, |pool| pool.stride());
        self.convolution.rows_together().div_ceil(stride)
    }

    /// The rows of the convolution that rows `rows` of the result are made of.
    pub fn convolved_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let Some(pool) = self.after.pool else { return rows.clone() };
        let first = rows.start * pool.stride();
        let end = (rows.end - 1) * pool.stride() + pool.window_height();
        first - first % self.convolution.rows_together()..end
    }

    /// Rows `rows` of the result, of the channels that `weights` give.
    pub fn run(
        &self,
        weights: &PanelsView,
        finish: Finish,
        x: &[f32],
        rows: Range<usize>,
        y: &mut [f32],
    ) {
        let convolved = self.convolved_rows(&rows);
        let Some(pool) = self.after.pool else {
            return self.convolution.forward_part(weights, x, convolved, finish, y);
        };
        let pool = Pool2d { channels: weights.columns as u32, ..pool };
        let row_len = pool.width() * pool.channels();
        let above = (rows.start * pool.stride() - convolved.start) * row_len;
        let mut part = Scratch::new(convolved.len() * row_len);
        let mut part = part.write();
        self.convolution.forward_part(weights, x, convolved, finish, &mut part);
        self.isa.run(Pool { g: &pool, x: &part[above..], y });
    }
}
