//! A convolution of 3 by 3 of images with one channel, by pairs of outputs that are neighbours in a
//! row: four products a row of the kernel where direct convolution takes six.
//!
//! There is nothing to sum over but the nine taps, so Winograd's algorithm in one dimension does it
//! in registers: the three rows of the kernel are added up before the map to outputs. The map of
//! the inputs costs next to nothing, since it is the same for all output channels and its vectors
//! run along the row. Only networks that answer use it: `tests/winograd_error.rs` says how little
//! more than direct convolution it rounds.

use super::forms::{Form, Line, Two};
use crate::cpu::finish::{Finish, FinishVector};
use crate::cpu::isa::{Isa, direct_only};
use crate::cpu::panels::{Panels, PanelsView};
use crate::cpu::products::end_of;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::tile::unrolled;
use crate::geometry::Conv2d;

/// Rows of the kernel.
const ROWS: usize = 3;
/// Numbers that a row of the kernel becomes, and inputs of a pair.
const T: usize = 4;
/// Rows of the packed weights.
const DEPTH: usize = ROWS * T;
/// Outputs of a row that are computed before the next row's. A constant, so that all inputs of a
/// pair lie at constant distances from one address.
const STRIP: usize = 64;

/// Whether a convolution can be computed so.
pub(super) fn fits(g: &Conv2d) -> bool {
    (g.kernel_height, g.kernel_width, g.stride, g.in_channels) == (3, 3, 1, 1)
        && g.out_channels().is_multiple_of(LANES)
        && !direct_only()
}

/// The weights: [panel][row of the kernel][T][panel's width].
pub(super) fn pack(isa: Isa, g: &Conv2d, w: &[f32]) -> Panels {
    let columns = g.out_channels();
    assert_eq!(w.len(), ROWS * ROWS * columns, "the weights' size");
    Panels::fill(isa, DEPTH, columns, |first, panel| isa.run(Pack { w, columns, first, panel }))
}

/// A panel of the weights, from column `first` on.
struct Pack<'a> {
    w: &'a [f32],
    columns: usize,
    first: usize,
    panel: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pack { w, columns, first, panel } = self;
        let width = panel.len() / DEPTH;
        for v in (0..width).step_by(LANES) {
            let column = (first + v).min(columns);
            for (row, to) in panel.chunks_exact_mut(T * width).enumerate() {
                let taps = w[row * ROWS * columns..].chunks_exact(columns);
                let mut line = [s.splat(0.0); ROWS];
                for (line, tap) in line.iter_mut().zip(taps) {
                    *line = s.load_slice(&tap[column..]);
                }
                let numbers = <Two as Form<T, 2>>::Weight::apply(s, line);
                for (to, number) in to.chunks_exact_mut(width).zip(numbers) {
                    s.store_slice(&mut to[v..], number);
                }
            }
        }
    }
}

/// Outputs `[images, rows, width, channels]`, the channels as many as the weights have columns.
pub(super) struct Pairs<'a> {
    /// From the first row of the first image that is read, each with the padding around it.
    pub x: &'a [f32],
    /// Numbers of a row and from image to image.
    pub row_len: usize,
    pub image_len: usize,
    /// Images, rows of each and width of the outputs.
    pub outputs: [usize; 3],
    pub weights: &'a PanelsView<'a>,
    pub finish: Finish<'a>,
    pub y: &'a mut [f32],
}

impl Kernel for Pairs<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [images, rows, width] = self.outputs;
        let channels = self.weights.columns;
        assert_eq!(self.weights.depth, DEPTH, "weights of pairs");
        self.weights.check_any();
        for columns in [channels, self.weights.width] {
            assert!(columns.is_multiple_of(LANES), "blocks of 16");
        }
        let out_row_len = end_of(&[(width, channels)]);
        let out_len = end_of(&[(rows, out_row_len)]);
        assert_eq!(self.y.len(), end_of(&[(images, out_len)]), "the result's size");
        let last = images.saturating_sub(1);
        let read = end_of(&[(last, self.image_len), (rows + 2, self.row_len)]);
        assert!(read <= self.x.len() || images == 0, "the images end before their outputs do");
        assert!(width + 2 <= self.row_len, "rows end before their outputs do");
        self.finish.check(channels);
        let mut mapped = Scratch::new((rows + 2) * T * STRIP);
        let mut mapped = mapped.write();
        for (image, y) in self.y.chunks_exact_mut(out_len.max(1)).enumerate() {
            let x = &self.x[image * self.image_len..];
            for first in (0..width).step_by(STRIP) {
                let outputs = STRIP.min(width - first);
                for (row, to) in mapped.chunks_exact_mut(T * STRIP).enumerate() {
                    map_inputs(s, &x[row * self.row_len + first..], outputs, to);
                }
                let strip =
                    Strip { mapped: &mapped, rows, outputs, row_len: out_row_len, channels };
                for column in (0..channels).step_by(LANES) {
                    // SAFETY: the sizes of the weights and the result were checked above, and that both
                    // have whole blocks of 16 columns: the result at `rows` rows of `width` outputs.
                    unsafe {
                        let finish = self.finish.at(s, column);
                        let weights = of_column(s, self.weights, column);
                        let y = y.as_mut_ptr().add(first * channels + column);
                        strip.column(s, weights, finish, y);
                    }
                }
            }
        }
    }
}

/// The map of the inputs of pairs that begin at one of so many outputs: a line of `STRIP` numbers for
/// each of what it gives. Only every other is needed; to leave the others out would cost more.
#[inline(always)]
fn map_inputs<S: Simd>(s: S, x: &[f32], outputs: usize, to: &mut [f32]) {
    for at in (0..outputs).step_by(LANES) {
        let mut inputs = [s.splat(0.0); T];
        for (i, input) in inputs.iter_mut().enumerate() {
            *input = s.load_slice(&x[(at + i).min(x.len())..]);
        }
        let numbers = <Two as Form<T, 2>>::Input::apply(s, inputs);
        for (line, number) in to.chunks_exact_mut(STRIP).zip(numbers) {
            s.store_slice(&mut line[at..], number);
        }
    }
}

/// The weights of 16 columns, `R` rows of the kernel that became `F` numbers each.
///
/// # Safety
/// The panels must be whole, their depth `R` times `F` and their width a multiple of 16, and they must
/// have these columns, from a multiple of 16 on.
#[inline(always)]
unsafe fn of_column<S: Simd, const R: usize, const F: usize>(
    s: S,
    weights: &PanelsView,
    column: usize,
) -> [[S::V; F]; R] {
    let width = weights.width;
    let start = column / width * R * F * width + column % width;
    let mut numbers = [[s.splat(0.0); F]; R];
    unrolled!(I in R => {
        unrolled!(J in F => {
            // SAFETY: the caller guarantees the columns.
            numbers[I][J] =
                unsafe { s.load(weights.data.as_ptr().add(start + (I * F + J) * width)) };
        });
    });
    numbers
}

/// At most `STRIP` outputs of each row of an image.
struct Strip<'a> {
    /// [rows + 2][T][STRIP]
    mapped: &'a [f32],
    rows: usize,
    outputs: usize,
    /// Numbers of a row of the result.
    row_len: usize,
    channels: usize,
}

impl Strip<'_> {
    /// Sixteen channels.
    ///
    /// # Safety
    /// 16 numbers must be writable for each of the outputs: of the first row from `y` on, `channels`
    /// apart, and of each further row `row_len` later.
    #[inline(always)]
    unsafe fn column<S: Simd>(
        &self,
        s: S,
        weights: [[S::V; T]; ROWS],
        finish: FinishVector<S::V>,
        y: *mut f32,
    ) {
        let (outputs, channels) = (self.outputs, self.channels);
        assert!(outputs <= STRIP && self.mapped.len() == (self.rows + 2) * T * STRIP, "a strip");
        for row in 0..self.rows {
            // SAFETY: there are three rows of mapped inputs from this one on, and each of their
            // lines has as many numbers as there may be outputs; the caller guarantees `y`.
            unsafe {
                let x = self.mapped.as_ptr().add(row * T * STRIP);
                let y = y.add(row * self.row_len);
                for i in (0..outputs - outputs % 2).step_by(2) {
                    let [a, b] = pair(s, x.add(i), weights, finish);
                    s.store(y.add(i * channels), a);
                    s.store(y.add((i + 1) * channels), b);
                }
                if outputs % 2 == 1 {
                    let [a, _] = pair(s, x.add(outputs - 1), weights, finish);
                    s.store(y.add((outputs - 1) * channels), a);
                }
            }
        }
    }
}

/// Two outputs.
///
/// # Safety
/// From `x` on, three rows of `T` lines must be readable.
#[inline(always)]
unsafe fn pair<S: Simd>(
    s: S,
    x: *const f32,
    weights: [[S::V; T]; ROWS],
    finish: FinishVector<S::V>,
) -> [S::V; 2] {
    // Both outputs take up the second sum once, so the bias is in it.
    let zero = s.splat(0.0);
    // SAFETY: the caller guarantees the lines.
    let sums = unsafe { products(s, x, weights, [zero, finish.bias, zero, zero]) };
    let [a, b] = <Two as Form<T, 2>>::Output::apply(s, sums);
    [finish.limit(s, a), finish.limit(s, b)]
}

/// The products of `R` rows of the kernel, each with its `F` lines from `x` on, added to `sums`.
///
/// # Safety
/// The lines must be readable at `x`.
#[inline(always)]
unsafe fn products<S: Simd, const R: usize, const F: usize>(
    s: S,
    x: *const f32,
    weights: [[S::V; F]; R],
    mut sums: [S::V; F],
) -> [S::V; F] {
    unrolled!(I in R => {
        unrolled!(J in F => {
            // SAFETY: the caller guarantees the lines.
            let x = s.splat(unsafe { *x.add((I * F + J) * STRIP) });
            sums[J] = s.fma(x, weights[I][J], sums[J]);
        });
    });
    sums
}
