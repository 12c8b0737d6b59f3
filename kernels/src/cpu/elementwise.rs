//! Bias, ReLU, addition and dropout: one pass over the memory, in tasks of a fixed size.

use super::channels::{PixelSums, totals};
use super::isa::Isa;
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::{Channels, Dropout, Elements, MoveTowards, NO_GRADIENT};
use crate::rng::Stream;
use crate::threads;

/// Numbers of a task: long enough to pay for being scheduled, short enough for the activations of a
/// small batch to be several.
pub(super) const TASK_LEN: usize = 4 * 1024;

/// The same for rows of `channels` numbers: as many whole rows.
pub(super) fn task_rows_len(channels: usize) -> usize {
    (TASK_LEN / channels.max(1)).max(1) * channels.max(1)
}

/// Numbers of a task where each number is drawn for: that takes several times as long.
const DRAWN_LEN: usize = TASK_LEN / 4;

/// y = x + bias, a channel at a time: [N P, C] \[C\] -> [N P, C]
pub fn bias_forward(g: &Channels, x: &[f32], bias: &[f32], y: &mut [f32]) {
    let (isa, len) = (Isa::current(), task_rows_len(g.channels()));
    threads::chunks(y, len, |task, y| {
        y.copy_from_slice(&x[task * len..][..y.len()]);
        isa.run(AddBias { bias, y });
    });
}

/// y += bias, in place: [P, C] \[C\]
pub(super) struct AddBias<'a> {
    pub bias: &'a [f32],
    pub y: &'a mut [f32],
}

impl Kernel for AddBias<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.bias.len();
        for y in self.y.chunks_exact_mut(channels) {
            for c in (0..channels).step_by(LANES) {
                let sum = s.add(s.load_slice(&y[c..]), s.load_slice(&self.bias[c..]));
                s.store_slice(&mut y[c..], sum);
            }
        }
    }
}

/// dbias = the sum of dy over images and pixels: [N, P, C] -> \[C\]
pub fn bias_backward(g: &Channels, dy: &[f32], dbias: &mut [f32]) {
    let isa = Isa::current();
    let mut sums = Scratch::new(g.images() * g.channels());
    threads::chunks(&mut sums.write(), g.channels().max(1), |n, sums| {
        let image = &dy[n * g.image_len()..][..g.image_len()];
        isa.run(PixelSums { image, sums });
    });
    totals(isa, &sums.read(), dbias);
}

/// y = max(x, 0); NaN stays NaN.
pub fn relu_forward(_: &Elements, x: &[f32], y: &mut [f32]) {
    let isa = Isa::current();
    threads::chunks(y, TASK_LEN, |task, y| {
        isa.run(Relu { x: &x[task * TASK_LEN..][..y.len()], y });
    });
}

/// max(x, zero); NaN stays NaN.
#[inline(always)]
pub(super) fn larger<S: Simd>(s: S, x: S::V, zero: S::V) -> S::V {
    s.max(zero, x)
}

/// y = max(x, 0)
pub(super) struct Relu<'a> {
    pub x: &'a [f32],
    pub y: &'a mut [f32],
}

impl Kernel for Relu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        for (x, y) in self.x.chunks(LANES).zip(self.y.chunks_mut(LANES)) {
            s.store_slice(y, larger(s, s.load_slice(x), zero));
        }
    }
}

/// dx = dy where y > 0, else 0
pub fn relu_backward(_: &Elements, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let isa = Isa::current();
    threads::chunks(dx, TASK_LEN, |task, dx| {
        let (y, dy) = (&y[task * TASK_LEN..][..dx.len()], &dy[task * TASK_LEN..][..dx.len()]);
        isa.run(ReluBackward { y, dy, dx });
    });
}

struct ReluBackward<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for ReluBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        let inputs = self.y.chunks(LANES).zip(self.dy.chunks(LANES));
        for ((y, dy), dx) in inputs.zip(self.dx.chunks_mut(LANES)) {
            s.store_slice(dx, s.select_gt(s.load_slice(y), zero, s.load_slice(dy), zero));
        }
    }
}

/// sum += x
pub fn add_assign(_: &Elements, x: &[f32], sum: &mut [f32]) {
    let isa = Isa::current();
    threads::chunks(sum, TASK_LEN, |task, sum| {
        isa.run(AddAssign { x: &x[task * TASK_LEN..][..sum.len()], sum });
    });
}

struct AddAssign<'a> {
    x: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for AddAssign<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, sum) in self.x.chunks(LANES).zip(self.sum.chunks_mut(LANES)) {
            s.store_slice(sum, s.add(s.load_slice(sum), s.load_slice(x)));
        }
    }
}

/// average = (x - average) share + average
pub fn move_towards(g: &MoveTowards, x: &[f32], average: &mut [f32]) {
    let (isa, share) = (Isa::current(), g.share);
    threads::chunks(average, TASK_LEN, |task, average| {
        isa.run(Approach { share, x: &x[task * TASK_LEN..][..average.len()], average });
    });
}

struct Approach<'a> {
    share: f32,
    x: &'a [f32],
    average: &'a mut [f32],
}

impl Kernel for Approach<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let share = s.splat(self.share);
        for (x, slice) in self.x.chunks(LANES).zip(self.average.chunks_mut(LANES)) {
            let average = s.load_slice(slice);
            s.store_slice(slice, s.fma(s.sub(s.load_slice(x), average), share, average));
        }
    }
}

/// y = x · 1 / (1 - rate), the factor rounded to f32, where the mask keeps, else 0
pub fn dropout(g: &Dropout, x: &[f32], y: &mut [f32]) {
    let isa = Isa::current();
    threads::chunks(y, DRAWN_LEN, |task, y| {
        let first = task * DRAWN_LEN;
        isa.run(Mask {
            stream: g.stream(),
            first: first as u64,
            threshold: g.threshold(),
            scale: g.scale(),
            x: &x[first..][..y.len()],
            y,
        });
    });
}

struct Mask<'a> {
    stream: Stream,
    /// Index of the first number in the whole; a multiple of [`WORDS`].
    first: u64,
    threshold: u32,
    scale: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

/// Dropout of some numbers in place; the codes of those dropped become [`NO_GRADIENT`].
pub(super) struct DropCoded<'a> {
    pub stream: Stream,
    /// Index of the first number in the whole.
    pub first: u64,
    pub threshold: u32,
    pub scale: f32,
    pub y: &'a mut [f32],
    pub codes: &'a mut [u8],
}

impl Kernel for DropCoded<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut done = 0;
        while done < self.y.len() {
            let at = self.first + done as u64;
            let words = draw(self.stream, at / WORDS as u64 * BLOCKS as u64);
            let words = &words[(at % WORDS as u64) as usize..];
            let end = self.y.len().min(done + words.len());
            let numbers = self.y[done..end].iter_mut().zip(&mut self.codes[done..end]);
            for ((y, code), &word) in numbers.zip(words) {
                let keep = word >= self.threshold;
                *y = if keep { *y * self.scale } else { 0.0 };
                *code = if keep { *code } else { NO_GRADIENT };
            }
            done = end;
        }
    }
}

/// Blocks that are drawn together: two vectors of them, or the compiler unrolls the loop over them
/// in full and then finds no vectors in it.
const BLOCKS: usize = 2 * LANES;
/// Words in so many blocks.
const WORDS: usize = 4 * BLOCKS;

impl Kernel for Mask<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let chunks = self.x.chunks(WORDS).zip(self.y.chunks_mut(WORDS));
        for (i, (x, y)) in chunks.enumerate() {
            let words = draw(self.stream, (self.first + (i * WORDS) as u64) / 4);
            for ((x, y), &word) in x.iter().zip(y).zip(&words) {
                *y = if word >= self.threshold { x * self.scale } else { 0.0 };
            }
        }
    }
}

/// The words of blocks `first..first + BLOCKS`, in the order of the stream.
#[inline(always)]
fn draw(stream: Stream, first: u64) -> [u32; WORDS] {
    let blocks = stream.blocks::<BLOCKS>(first);
    let mut words = [0; WORDS];
    for i in 0..BLOCKS {
        for w in 0..4 {
            words[4 * i + w] = blocks[w][i];
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_keeps_nan_in_the_body_and_in_the_tail() {
        let mut x = [-1.0; 19];
        for i in [0, 15, 16, 18] {
            x[i] = f32::NAN;
        }
        (x[3], x[17]) = (2.0, f32::INFINITY);
        let (g, mut y, mut dx) = (Elements { len: 19 }, [9.0; 19], [9.0; 19]);
        relu_forward(&g, &x, &mut y);
        relu_backward(&g, &y, &[1.0; 19], &mut dx);
        for i in 0..19 {
            match i {
                0 | 15 | 16 | 18 => assert!(y[i].is_nan()),
                3 | 17 => assert_eq!((y[i], dx[i]), (x[i], 1.0)),
                _ => assert_eq!((y[i], dx[i]), (0.0, 0.0)),
            }
        }
    }

    fn masked(rate: f32, len: usize) -> (Dropout, Vec<f32>) {
        let g = Dropout {
            len: len as u32,
            seed_low: 5,
            seed_high: 6,
            purpose: 0x0003_0001,
            step: 9,
            rate,
        };
        let mut y = vec![9.0; len];
        dropout(&g, &vec![1.0; len], &mut y);
        (g, y)
    }

    /// The number kept is binomial: within five standard deviations of its mean.
    #[test]
    fn dropout_keeps_the_share_that_it_says() {
        let len = 200_003;
        for rate in [0.0, 0.1, 0.25, 0.5, 0.9] {
            let (_, y) = masked(rate, len);
            let kept = y.iter().filter(|&&y| y != 0.0).count() as f64;
            let (n, p) = (len as f64, f64::from(1.0 - rate));
            assert!((kept - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt(), "{rate}: {kept}");
        }
    }

    #[test]
    fn dropout_draws_the_words_of_its_stream() {
        let (g, y) = masked(0.25, 2 * DRAWN_LEN + 77);
        for (i, &y) in y.iter().enumerate() {
            let kept = g.stream().word(i as u64) >= 1 << 30;
            assert_eq!(y, if kept { 1.0 / 0.75 } else { 0.0 }, "number {i}");
        }
    }
}
