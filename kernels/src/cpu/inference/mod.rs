//! A network that only answers: batch norm folded into its weights, these packed once, and each
//! task taking its images through all layers while they are in the cache.
//!
//! An image's answer is the same bits alone and in any batch, on any number of threads. (Only where
//! numbers come near the ends of the range of f32 may their halves and doubles round otherwise.)

mod conv_layer;
mod plan;
mod solo;

use std::ops::Range;

use super::conv2d::Convolution;
use super::elementwise::Relu;
use super::finish::Finish;
use super::isa::{Isa, tile_rows_limit};
use super::panels::Panels;
use super::pool::{maximum, window};
use super::products::RowProduct;
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::{Conv2d, Pool2d};
use crate::threads;

/// The most images that a task takes through the network at once.
const IMAGES_AT_ONCE: usize = 32;

/// A layer of a network that only answers, with numbers of its own.
#[derive(Clone, Debug)]
pub enum Layer {
    /// A convolution of one image, and its bias.
    Conv {
        /// The convolution; how many images it names does not matter.
        geometry: Conv2d,
        /// [Kh, Kw, C, O]
        weight: Vec<f32>,
        /// \[O\]
        bias: Vec<f32>,
    },
    /// A full connection, and its bias.
    Dense {
        /// [in, out]
        weight: Vec<f32>,
        /// \[out\]
        bias: Vec<f32>,
    },
    /// x scale + shift, a channel at a time: batch norm that follows no product.
    Affine {
        /// \[C\]
        scale: Vec<f32>,
        /// \[C\]
        shift: Vec<f32>,
    },
    /// The larger of each number and 0.
    Relu,
    /// Max-pooling of one image; how many images it names does not matter.
    MaxPool(Pool2d),
}

/// A network with its weights packed. Any number of threads may ask it at once.
pub struct Inference {
    isa: Isa,
    steps: Vec<Step>,
    segments: Vec<Segment>,
    plan: plan::Plan,
    input_len: usize,
    output_len: usize,
}

/// Steps that a few images go through before the next few come.
struct Segment {
    steps: Range<usize>,
    images_at_once: usize,
}

struct Step {
    what: What,
    /// Numbers of one image after the step.
    output_len: usize,
}

enum What {
    Conv {
        convolution: Convolution,
        weights: Panels,
        /// The same for a single image on several threads, where that is computed in another way.
        single: Option<Box<(Convolution, Panels)>>,
        after: After,
    },
    Dense {
        weights: Panels,
        /// Whether many inputs are 0, and what they are multiplied with does not matter.
        skips_zeros: bool,
        after: After,
        /// The largest tile height to use.
        tile_rows: usize,
    },
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Relu,
    MaxPool(Pool2d),
}

/// What follows a product before its numbers leave the cache.
struct After {
    bias: Vec<f32>,
    relu: bool,
    pool: Option<Pool2d>,
}

impl Inference {
    /// Packs `layers` for images of `input_len` numbers.
    ///
    /// # Panics
    /// If a layer does not fit what comes before it.
    #[must_use]
    #[track_caller]
    pub fn new(layers: &[Layer], input_len: usize) -> Inference {
        let isa = Isa::current();
        let (mut steps, mut segments) = (Vec::<Step>::new(), Vec::<Segment>::new());
        let (mut len, mut rest) = (input_len, layers);
        while let Some((layer, after)) = rest.split_first() {
            let behind_relu = steps.last().is_some_and(Step::ends_with_relu);
            let (step, images_at_once, taken) = prepare(isa, layer, after, len, behind_relu);
            rest = &after[taken..];
            len = step.output_len;
            // A product of more images at once than the last: what lies between goes to memory.
            let starts = steps.last().is_none_or(|last| match &last.what {
                // A smaller image goes on, of which more fit.
                What::Conv { convolution, after, .. } => {
                    convolution.is_pooled() || after.pool.is_some()
                }
                What::Dense { .. } => false,
                _ => images_at_once == IMAGES_AT_ONCE,
            });
            if starts {
                segments.push(Segment { steps: steps.len()..steps.len(), images_at_once: 1 });
            }
            let segment = segments.last_mut().expect("there is one now");
            segment.images_at_once = segment.images_at_once.max(images_at_once);
            segment.steps.end += 1;
            steps.push(step);
        }
        let plan = plan::Plan::new(isa, &steps);
        Inference { isa, steps, segments, plan, input_len, output_len: len }
    }

    /// The numbers of one answer.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// The answers to some images.
    ///
    /// # Panics
    /// If the lengths are not those of the same number of images and answers.
    #[track_caller]
    pub fn run(&self, x: &crate::Buffer, y: &mut crate::Buffer) {
        let x = crate::buffer::operand::read::<f32>("inference", "x", x, crate::Device::Cpu);
        let mut y = crate::buffer::operand::write::<f32>("inference", "y", y, crate::Device::Cpu);
        let images = x.len() / self.input_len;
        assert_eq!(x.len(), images * self.input_len, "inference: a part of an image");
        assert_eq!(y.len(), images * self.output_len, "inference: the answers' length");
        if images == 1 && threads::count() > 1 && self.plan.is_usable() {
            return self.plan.run(self.isa, &self.steps, &x, &mut y);
        }
        // Which images go together changes no bit, so here the number of threads may decide.
        let at_once = images.div_ceil(4 * threads::count()).clamp(1, IMAGES_AT_ONCE);
        threads::chunks(&mut y, at_once * self.output_len, |task, y| {
            let first = task * at_once * self.input_len;
            let count = y.len() / self.output_len;
            self.answer(count, &x[first..first + count * self.input_len], y);
        });
    }

    /// The answers of one task.
    fn answer(&self, images: usize, x: &[f32], y: &mut [f32]) {
        if self.segments.is_empty() {
            return y.copy_from_slice(x);
        }
        let mut current: Option<Scratch> = None;
        for (i, segment) in self.segments.iter().enumerate() {
            let last = i + 1 == self.segments.len();
            let steps = &self.steps[segment.steps.clone()];
            let output_len = steps.last().expect("segments hold steps").output_len;
            let mut next = Scratch::new(if last { 0 } else { images * output_len });
            {
                let held = current.as_ref().map(Scratch::read);
                let from: &[f32] = held.as_deref().unwrap_or(x);
                let mut written = next.write();
                let to: &mut [f32] = if last { y } else { &mut written };
                let input_len = from.len() / images;
                let few = segment.images_at_once;
                let inputs = from.chunks(few * input_len);
                for (from, to) in inputs.zip(to.chunks_mut(few * output_len)) {
                    self.run_segment(steps, from.len() / input_len, from, to);
                }
            }
            current = Some(next);
        }
    }

    /// Takes a few images through the steps of a segment.
    fn run_segment(&self, steps: &[Step], images: usize, x: &[f32], y: &mut [f32]) {
        let mut current: Option<Scratch> = None;
        for (i, step) in steps.iter().enumerate() {
            let held = current.as_ref().map(Scratch::read);
            let from: &[f32] = held.as_deref().unwrap_or(x);
            if i + 1 == steps.len() {
                step.run(self.isa, images, from, y);
                return;
            }
            let mut next = Scratch::new(images * step.output_len);
            step.run(self.isa, images, from, &mut next.write());
            drop(held);
            current = Some(next);
        }
    }
}

/// The step of a layer and what of `rest` it takes along; how many images it is best given, and
/// how many layers of `rest` it took.
fn prepare(
    isa: Isa,
    layer: &Layer,
    rest: &[Layer],
    len: usize,
    behind_relu: bool,
) -> (Step, usize, usize) {
    let relu = matches!(rest.first(), Some(Layer::Relu));
    let (what, output_len, images, taken) = match layer {
        Layer::Conv { geometry, weight, bias } => {
            let g = Conv2d { images: 1, ..*geometry };
            assert_eq!(len, g.input_len(), "a convolution takes other images");
            let pool = match rest.get(usize::from(relu)) {
                Some(Layer::MaxPool(pool)) if relu => Some(Pool2d { images: 1, ..*pool }),
                _ => None,
            };
            if let Some(pool) = pool {
                let size = [g.out_height(), g.out_width(), g.out_channels()];
                let taken = [pool.height(), pool.width(), pool.channels()];
                assert_eq!(taken, size, "a pool takes other images");
            }
            let convolution = Convolution::for_inference(isa, &g);
            let weights = convolution.pack_forward(&g, weight);
            let output_len = pool.map_or(g.output_len(), |pool| pool.output_len());
            let taken = usize::from(relu) + usize::from(pool.is_some());
            let images = convolution.images_at_once();
            let (convolution, pool) = match pool.and_then(|pool| convolution.pooled(&pool)) {
                Some(pooled) => (pooled, None),
                None => (convolution, pool),
            };
            let single = convolution.for_single_image();
            let single = single.map(|single| Box::new((single, single.pack_forward(&g, weight))));
            let after = After { bias: bias.clone(), relu, pool };
            (What::Conv { convolution, weights, single, after }, output_len, images, taken)
        }
        Layer::Dense { weight, bias } => {
            let columns = bias.len();
            assert_eq!(weight.len(), len * columns, "a dense layer takes other features");
            let weights = Panels::pack(isa, len, columns, |k, first, row| {
                row.copy_from_slice(&weight[k * columns + first..][..row.len()]);
            });
            let after = After { bias: bias.clone(), relu, pool: None };
            let skips_zeros = behind_relu && weight.iter().all(|weight| weight.is_finite());
            let tile_rows = tile_rows_limit();
            let what = What::Dense { weights, skips_zeros, after, tile_rows };
            (what, columns, IMAGES_AT_ONCE, usize::from(relu))
        }
        Layer::Affine { scale, shift } => {
            assert!(len.is_multiple_of(scale.len()), "batch norm of other channels");
            (What::Affine { scale: scale.clone(), shift: shift.clone() }, len, 1, 0)
        }
        Layer::Relu => (What::Relu, len, 1, 0),
        Layer::MaxPool(pool) => {
            let pool = Pool2d { images: 1, ..*pool };
            assert_eq!(len, pool.input_len(), "a pool takes other images");
            (What::MaxPool(pool), pool.output_len(), 1, 0)
        }
    };
    (Step { what, output_len }, images, taken)
}

impl Step {
    /// Whether what was negative has become 0, at most a pool behind it.
    fn ends_with_relu(&self) -> bool {
        match &self.what {
            What::Conv { after, .. } | What::Dense { after, .. } => after.relu,
            What::Affine { .. } | What::MaxPool(_) => false,
            What::Relu => true,
        }
    }

    fn run(&self, isa: Isa, images: usize, x: &[f32], y: &mut [f32]) {
        match &self.what {
            What::Conv { convolution, weights, after, .. } => match &after.pool {
                None => convolution.forward(&weights.view(), x, after.finish(), y),
                Some(pool) => {
                    let mut convolved = Scratch::new(images * pool.image_len());
                    let mut convolved = convolved.write();
                    convolution.forward(&weights.view(), x, after.finish(), &mut convolved);
                    pool_images(isa, pool, &convolved, y);
                }
            },
            &What::Dense { ref weights, skips_zeros, ref after, tile_rows } => {
                isa.run(RowProduct {
                    finish: after.finish(),
                    skips_zeros,
                    ..RowProduct::of_matrices(x, &weights.view(), y, tile_rows)
                });
            }
            What::Affine { scale, shift } => isa.run(Affine { x, scale, shift, y }),
            What::Relu => isa.run(Relu { x, y }),
            What::MaxPool(pool) => pool_images(isa, pool, x, y),
        }
    }
}

impl After {
    fn finish(&self) -> Finish<'_> {
        Finish { bias: &self.bias, relu: self.relu }
    }
}

fn pool_images(isa: Isa, pool: &Pool2d, x: &[f32], y: &mut [f32]) {
    let outputs = y.chunks_exact_mut(pool.out_image_len());
    for (x, y) in x.chunks_exact(pool.image_len()).zip(outputs) {
        isa.run(Pool { g: pool, x, y });
    }
}

/// y = x scale + shift: [P, C] \[C\] \[C\] -> [P, C]
struct Affine<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Affine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.scale.len();
        for (x, y) in self.x.chunks_exact(channels).zip(self.y.chunks_exact_mut(channels)) {
            for c in (0..channels).step_by(LANES) {
                let (scale, shift) =
                    (s.load_slice(&self.scale[c..]), s.load_slice(&self.shift[c..]));
                s.store_slice(&mut y[c..], s.fma(s.load_slice(&x[c..]), scale, shift));
            }
        }
    }
}

/// y = pool(x) of one image, without codes.
struct Pool<'a> {
    g: &'a Pool2d,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Pool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // The usual window as a constant, for which the compiler needs no loops.
        let usual = Pool2d { window_height: 2, window_width: 2, ..*self.g };
        if *self.g == usual { Pool { g: &usual, ..self }.windows(s) } else { self.windows(s) }
    }
}

impl Pool<'_> {
    #[inline(always)]
    fn windows<S: Simd>(self, s: S) {
        let (g, channels) = (self.g, self.g.channels());
        let lines = self.y.chunks_exact_mut(g.out_width() * channels);
        for (row, y) in lines.enumerate() {
            for (column, y) in y.chunks_exact_mut(channels).enumerate() {
                let first = window(g, row, column);
                for c in (0..channels).step_by(LANES) {
                    let (best, _) = maximum(s, g, self.x, first + c, Finish::NONE.at(s, c));
                    s.store_slice(&mut y[c..], best);
                }
            }
        }
    }
}
