//! The three products that everything but Winograd's algorithm is made of. They differ in how the
//! left operand is read and in how sums begin; the README of this folder has the pictures.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::finish::Finish;
use super::panels::PanelsView;
use super::simd::{Kernel, LANES, Simd};
use super::tile::{
    Adjacent, PANELS_TOGETHER, Right, Rows, Scattered, Sums, accumulate, accumulate_row, heights,
    load_tile, store_tile, unrolled, with_height,
};
use crate::geometry::shard_len;

/// The sum of `count * step`: where a product's last element ends.
///
/// # Panics
/// If it does not fit a usize: what is trusted after a check must not have wrapped around.
#[inline(always)]
pub(super) fn end_of(steps: &[(usize, usize)]) -> usize {
    let add =
        |sum: usize, &(count, step): &(usize, usize)| sum.checked_add(count.checked_mul(step)?);
    steps.iter().try_fold(0, add).expect("a product larger than any memory")
}

/// A grid of places: `blocks` of `lines` of `points`, each level with its own step.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub block: usize,
    pub line: usize,
    pub point: usize,
}

/// Where the rows of a product start: row by row the points of a grid.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Number of blocks, lines in a block and points in a line.
    pub counts: [usize; 3],
    pub steps: Steps,
}

impl Grid {
    /// Rows `0..rows`, `step` apart.
    pub fn line(rows: usize, step: usize) -> Grid {
        Grid { counts: [1, 1, rows], steps: Steps { block: 0, line: 0, point: step } }
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.counts.iter().product()
    }

    /// The largest start, for checks.
    fn last(&self) -> usize {
        let last = self.counts.map(|count| count.saturating_sub(1));
        let Steps { block, line, point } = self.steps;
        end_of(&[(last[0], block), (last[1], line), (last[2], point)])
    }

    /// The starts of rows `first..first + MR`.
    #[inline(always)]
    fn starts<const MR: usize>(&self, first: usize) -> [usize; MR] {
        let [_, lines, points] = self.counts;
        let (mut point, line) = (first % points, first / points);
        let (mut line, mut block) = (line % lines, line / lines);
        let mut starts = [0; MR];
        for start in &mut starts {
            *start = block * self.steps.block + line * self.steps.line + point * self.steps.point;
            point += 1;
            if point == points {
                (point, line) = (0, line + 1);
                if line == lines {
                    (line, block) = (0, block + 1);
                }
            }
        }
        starts
    }
}

/// `c[i, j] = sum over run and k of a[start of row i + run * run_step + k] * b[b_row + run * b_step + k, j]`
///
/// A row of the left operand is `runs` contiguous runs of `run_len` numbers. With a grid and
/// runs this is a plain product, a convolution without a column buffer, and a part of one.
pub(super) struct RowProduct<'a> {
    pub a: &'a [f32],
    pub rows: Grid,
    pub runs: usize,
    pub run_step: usize,
    pub run_len: usize,
    pub b: &'a PanelsView<'a>,
    pub b_row: usize,
    /// Rows of the right operand from one run to the next.
    pub b_step: usize,
    pub c: &'a mut [f32],
    /// What becomes of the sums.
    pub finish: Finish<'a>,
    /// Whether a single row leaves out what is 0 in it, in panels that are taken together and in one
    /// whose second vector is empty. No sum is another, but for the sign of a 0, as long as no number
    /// of the right operand is infinite or NaN.
    pub skips_zeros: bool,
    /// The largest tile height to use.
    pub tile_rows: usize,
}

impl Kernel for RowProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if S::TILE_VECTORS == 2 { self.tiles::<S, 2>(s) } else { self.tiles::<S, 1>(s) }
    }
}

impl RowProduct<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const NV: usize>(mut self, s: S) {
        let last_run = self.runs.saturating_sub(1);
        let end = end_of(&[(1, self.rows.last()), (last_run, self.run_step), (1, self.run_len)]);
        assert!(end <= self.a.len(), "the left operand ends before the product does");
        let b_end = end_of(&[(1, self.b_row), (last_run, self.b_step), (1, self.run_len)]);
        assert!(b_end <= self.b.depth, "the right operand ends before the product does");
        self.b.check::<NV>();
        let size = end_of(&[(self.rows.len(), self.b.columns)]);
        assert_eq!(self.c.len(), size, "the result's size");
        self.finish.check(self.b.columns);
        let mut panel = 0;
        if self.rows.len() == 1 {
            while panel + PANELS_TOGETHER <= self.b.count() {
                // SAFETY: the bounds of all operands were checked above, and the panels exist.
                unsafe { self.row::<S, PANELS_TOGETHER, NV, NV>(s, panel) };
                panel += PANELS_TOGETHER;
            }
            // A last panel whose second vector is empty, if it alone is left.
            let left = self.b.columns.saturating_sub(panel * NV * LANES);
            if NV == 2 && (1..=LANES).contains(&left) {
                // SAFETY: as above.
                unsafe { self.row::<S, 1, 1, NV>(s, panel) };
                panel += 1;
            }
        }
        let limit = S::TILE_ROWS.min(self.tile_rows);
        if self.rows.steps.point == 1 && self.rows.len() > 0 {
            // SAFETY: the bounds of all operands were checked above, and there are points.
            return unsafe { self.lines::<S, NV>(s, panel, limit) };
        }
        for panel in panel..self.b.count() {
            let mut first = 0;
            for rows in heights(self.rows.len(), limit) {
                // SAFETY: the bounds of all operands were checked above; `first + rows` is at
                // most the number of rows, as `heights` adds up to it.
                with_height!(rows, S, MR => unsafe {
                    let starts = self.rows.starts::<MR>(first);
                    let a = self.a.as_ptr();
                    let a = Scattered::<MR>(core::array::from_fn(|r| a.add(starts[r])));
                    self.tile::<S, MR, NV>(s, a, first, panel);
                });
                first += rows;
            }
        }
    }

    /// Panels from `panel` on, of rows that follow each other in memory within a line: a tile needs
    /// only one address.
    ///
    /// # Safety
    /// `tiles` must have checked the operands; the step between points must be 1, and there must be
    /// some.
    #[inline(always)]
    unsafe fn lines<S: Simd, const NV: usize>(&mut self, s: S, panel: usize, limit: usize) {
        let [blocks, lines, points] = self.rows.counts;
        for panel in panel..self.b.count() {
            for line in 0..blocks * lines {
                let mut first = line * points;
                let mut start = self.rows.starts::<1>(first)[0];
                for rows in heights(points, limit) {
                    // SAFETY: the caller's checks; `heights` adds up to the points of the line.
                    with_height!(rows, S, MR => unsafe {
                        let a = Adjacent(self.a.as_ptr().add(start));
                        self.tile::<S, MR, NV>(s, a, first, panel);
                    });
                    (first, start) = (first + rows, start + rows);
                }
            }
        }
    }

    /// The only row, the first `NV` vectors of each of panels `panel..panel + P`, which have `W`.
    ///
    /// # Safety
    /// `tiles` must have checked the operands; there must be one row, and these panels.
    #[inline(always)]
    unsafe fn row<S: Simd, const P: usize, const NV: usize, const W: usize>(
        &mut self,
        s: S,
        panel: usize,
    ) {
        let panel_step = self.b.depth * W * LANES;
        let b = &self.b.data[panel * panel_step + self.b_row * W * LANES..];
        let mut sums = [[s.splat(0.0); NV]; P];
        for run in 0..self.runs {
            let a = &self.a[run * self.run_step..][..self.run_len];
            let b = &b[run * self.b_step * W * LANES..];
            let (start, b) = (a.as_ptr(), (b.as_ptr(), panel_step));
            if !self.skips_zeros {
                // SAFETY: the runs were checked against `a`, the panels against `b`.
                sums = unsafe { accumulate_row::<S, P, NV, W>(s, sums, start, b, 0..self.run_len) };
                continue;
            }
            for (i, some) in a.chunks(PLACES).enumerate() {
                let (places, count) = nonzero(some);
                let depths = places[..count].iter().map(|&k| i * PLACES + usize::from(k));
                // SAFETY: as above, since each depth is a place in the run.
                sums = unsafe { accumulate_row::<S, P, NV, W>(s, sums, start, b, depths) };
            }
        }
        unrolled!(I in P => {
            unrolled!(V in NV => {
                let column = (((panel + I) * W + V) * LANES).min(self.b.columns);
                let sum = self.finish.at(s, column).apply(s, sums[I][V]);
                s.store_slice(&mut self.c[column..], sum);
            });
        });
    }

    /// # Safety
    /// `tiles` must have checked the operands; rows `first..first + MR` must exist and start at
    /// `rows`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        rows: impl Rows,
        first: usize,
        panel: usize,
    ) {
        let b = &self.b.data[(panel * self.b.depth + self.b_row) * NV * LANES..];
        let mut sums = [[s.splat(0.0); NV]; MR];
        for run in 0..self.runs {
            // SAFETY: the last start and its runs were checked against `a`, this panel against `b`.
            unsafe {
                let rows = rows.moved(run * self.run_step);
                let b = b.as_ptr().add(run * self.b_step * NV * LANES);
                let b = Right::contiguous(b, NV * LANES);
                sums = accumulate(s, sums, (rows, 1), b, self.run_len);
            }
        }
        let column = panel * NV * LANES;
        let width = (self.b.columns - column).min(NV * LANES);
        let sums = self.finish.apply_to_tile(s, column, sums);
        let c = &mut self.c[first * self.b.columns + column..];
        store_tile(s, c, self.b.columns, width, &sums);
    }
}

/// Numbers of a row of which the places are listed at a time.
const PLACES: usize = 512;

/// The places of the numbers that are not 0, and how many there are.
#[inline(always)]
fn nonzero(x: &[f32]) -> ([u16; PLACES], usize) {
    let (mut places, mut count) = ([0; PLACES], 0);
    for (k, &x) in x.iter().enumerate() {
        // Without a branch, which no processor could foresee; all but the sign is 0 for -0 as well.
        places[count % PLACES] = k as u16;
        count += usize::from(x.to_bits() << 1 != 0);
    }
    (places, count)
}

/// `c[r, j] += sum over block, line and point of a[place + r] * b[place, j]`, or `=` where sums begin.
///
/// The left operand is read down its columns: a weight gradient, where the depth is the pixels
/// (points of a line, lines of an image, images) of input and output gradient.
pub(super) struct ColumnProduct<'a> {
    pub a: &'a [f32],
    pub a_steps: Steps,
    pub b: &'a [f32],
    pub b_steps: Steps,
    /// Number of blocks, lines in a block and points in a line.
    pub counts: [usize; 3],
    /// `[rows, columns]`
    pub c: &'a mut [f32],
    /// Whether its sums begin here, and do not go on from what it holds.
    pub begin: bool,
    /// Columns of `c`. Every row of `b` must be readable up to the next multiple of the tile's
    /// width.
    pub columns: usize,
    /// The largest tile height to use.
    pub tile_rows: usize,
}

/// How much of the depth all tiles of one vector's width go through before any goes on, but for whole
/// lines. Such a tile does so little with what it reads that both operands should come from the L1 cache,
/// which holds them up to 64 rows and columns. Wider tiles would lose more by their sums' way to memory
/// and back.
const NARROW_DEPTH: usize = 64;

/// Blocks and lines of a [`ColumnProduct`].
struct Part {
    blocks: Range<usize>,
    lines: Range<usize>,
    /// Whether sums begin here.
    begin: bool,
}

impl Kernel for ColumnProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if S::TILE_VECTORS == 2 { self.tiles::<S, 2>(s) } else { self.tiles::<S, 1>(s) }
    }
}

impl ColumnProduct<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const NV: usize>(mut self, s: S) {
        let rows_in_all = self.c.len() / self.columns;
        let padded = self.columns.next_multiple_of(NV * LANES);
        let [blocks, lines, points] = self.counts;
        assert!(blocks > 0 && lines > 0 && points > 0, "a product without depth");
        let end = |steps: Steps, row: usize| {
            let places = [(blocks - 1, steps.block), (lines - 1, steps.line)];
            end_of(&[places[0], places[1], (points - 1, steps.point), (1, row)])
        };
        assert!(end(self.a_steps, rows_in_all) <= self.a.len(), "the left operand ends");
        assert!(end(self.b_steps, padded) <= self.b.len(), "the right operand ends");
        assert_eq!(self.c.len(), rows_in_all * self.columns, "the result's size");
        let depth = if NV == 1 { NARROW_DEPTH } else { usize::MAX };
        let blocks_at_once = (depth / (lines * points)).clamp(1, blocks);
        let lines_at_once = (depth / points).clamp(1, lines);
        for block in (0..blocks).step_by(blocks_at_once) {
            for line in (0..lines).step_by(lines_at_once) {
                let part = Part {
                    blocks: block..blocks.min(block + blocks_at_once),
                    lines: line..lines.min(line + lines_at_once),
                    begin: self.begin && (block, line) == (0, 0),
                };
                let mut first = 0;
                for rows in heights(rows_in_all, S::TILE_ROWS.min(self.tile_rows)) {
                    for column in (0..self.columns).step_by(NV * LANES) {
                        // SAFETY: the bounds of all operands were checked above.
                        with_height!(rows, S, MR => unsafe {
                            self.tile::<S, MR, NV>(s, &part, first, column);
                        });
                    }
                    first += rows;
                }
            }
        }
    }

    /// # Safety
    /// `tiles` must have checked the operands; rows `first..first + MR` and `column` must exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        part: &Part,
        first: usize,
        column: usize,
    ) {
        let width = (self.columns - column).min(NV * LANES);
        let c = &mut self.c[first * self.columns + column..];
        let mut sums = [[s.splat(0.0); NV]; MR];
        if !part.begin {
            sums = load_tile(s, c, self.columns, width);
        }
        for block in part.blocks.clone() {
            for line in part.lines.clone() {
                let a = block * self.a_steps.block + line * self.a_steps.line + first;
                let b = block * self.b_steps.block + line * self.b_steps.line + column;
                // SAFETY: `tiles` checked the last place of both operands.
                unsafe {
                    let a = (Adjacent(self.a.as_ptr().add(a)), self.a_steps.point);
                    let b = Right::contiguous(self.b.as_ptr().add(b), self.b_steps.point);
                    sums = accumulate(s, sums, a, b, self.counts[2]);
                }
            }
        }
        store_tile(s, c, self.columns, width, &sums);
    }
}

/// `c[r, j] = sum over k of a[k * a_step + r] * b[k, j]`, the depth cut into shards of
/// [`shard_len`] terms whose sums are merged by the tree.
pub(super) struct ShardedProduct<'a> {
    pub a: &'a [f32],
    pub a_step: usize,
    pub b: &'a PanelsView<'a>,
    /// `[rows, columns]`
    pub c: &'a mut [f32],
    /// The largest tile height to use.
    pub tile_rows: usize,
}

/// Levels of the tree of shards: enough for any batch that fits the memory.
const LEVELS: usize = 32;

impl Kernel for ShardedProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if S::TILE_VECTORS == 2 { self.tiles::<S, 2>(s) } else { self.tiles::<S, 1>(s) }
    }
}

impl ShardedProduct<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const NV: usize>(mut self, s: S) {
        let rows_in_all = self.c.len() / self.b.columns;
        if let Some(last) = self.b.depth.checked_sub(1) {
            let end = end_of(&[(last, self.a_step), (1, rows_in_all)]);
            assert!(end <= self.a.len(), "the left operand ends before the product does");
        }
        self.b.check::<NV>();
        for panel in 0..self.b.columns.div_ceil(self.b.width) {
            let mut first = 0;
            for rows in heights(rows_in_all, S::TILE_ROWS.min(self.tile_rows)) {
                // SAFETY: the bounds of all operands were checked above.
                with_height!(rows, S, MR => unsafe { self.tile::<S, MR, NV>(s, first, panel) });
                first += rows;
            }
        }
    }

    /// # Safety
    /// `tiles` must have checked the operands, and rows `first..first + MR` must exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        first: usize,
        panel: usize,
    ) {
        let b = &self.b.data[panel * self.b.depth * NV * LANES..];
        // A stack of finished subtrees: after n shards it holds one for every bit that n has.
        // Left without initial values, which would cost more than the sums of a small tile.
        let mut subtrees = [const { MaybeUninit::<Sums<S::V, MR, NV>>::uninit() }; LEVELS];
        let mut height = 0;
        let len = shard_len(self.b.depth);
        for (shard, from) in (0..self.b.depth).step_by(len).enumerate() {
            let terms = len.min(self.b.depth - from);
            // SAFETY: `tiles` checked the last term of both operands.
            let mut sums = unsafe {
                let a = (Adjacent(self.a.as_ptr().add(from * self.a_step + first)), self.a_step);
                let b = Right::contiguous(b.as_ptr().add(from * NV * LANES), NV * LANES);
                accumulate(s, [[s.splat(0.0); NV]; MR], a, b, terms)
            };
            for _ in 0..(shard + 1).trailing_zeros() {
                height -= 1;
                // SAFETY: all levels below the old `height` were written when it rose past them.
                sums = unsafe { merged(s, &subtrees[height], sums) };
            }
            subtrees[height].write(sums);
            height += 1;
        }
        let mut total = [[s.splat(0.0); NV]; MR];
        if height > 0 {
            height -= 1;
            // SAFETY: as above.
            total = unsafe { subtrees[height].assume_init() };
        }
        while height > 0 {
            height -= 1;
            // SAFETY: as above.
            total = unsafe { merged(s, &subtrees[height], total) };
        }
        let column = panel * NV * LANES;
        let width = (self.b.columns - column).min(NV * LANES);
        let c = &mut self.c[first * self.b.columns + column..];
        store_tile(s, c, self.b.columns, width, &total);
    }
}

/// left + right. Each vector goes from memory to its register: where a copy of all of them came
/// first, merging took as long as the products of a shard.
///
/// # Safety
/// `left` must hold sums.
#[inline(always)]
unsafe fn merged<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    left: &MaybeUninit<Sums<S::V, MR, NV>>,
    mut right: Sums<S::V, MR, NV>,
) -> Sums<S::V, MR, NV> {
    let left = left.as_ptr().cast::<S::V>();
    unrolled!(R in MR => {
        unrolled!(V in NV => {
            // SAFETY: the caller promises that the sums are there; they are MR times NV vectors.
            right[R][V] = s.add(unsafe { *left.add(R * NV + V) }, right[R][V]);
        });
    });
    right
}
