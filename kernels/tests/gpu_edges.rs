//! What shaders promise beyond the random calls of `agree.rs`: long batches, numbers that are not
//! finite, and what is kept from call to call.
#![cfg(feature = "gpu")]

use toile_kernels::geometry::{
    Adam, Augment, CUTMIX, CheckGradients, Conv2d, CrossEntropy, FLIP_RANDOM, Gather, Gemm, MIXUP,
    Mix, SUMMARY_LEN, Sgd,
};
use toile_kernels::rng::Stream;
use toile_kernels::{Buffer, Device, Kind, gpu};

/// `len` numbers from -2 to 2.
fn reals(purpose: u32, len: usize) -> Vec<f32> {
    let stream = Stream { seed: 7, purpose, step: 0 };
    (0..len as u64).map(|i| 4.0 * stream.uniform(i) - 2.0).collect()
}

/// `len` bytes below `end`.
fn bytes(purpose: u32, len: usize, end: u32) -> Vec<u8> {
    let stream = Stream { seed: 7, purpose, step: 0 };
    (0..len as u64).map(|i| (stream.word(i) % end) as u8).collect()
}

/// The summary of the cross-entropy of `logits`.
fn summary(device: Device, g: &CrossEntropy, logits: &[f32], labels: &[u8]) -> Vec<f32> {
    let unwritten = |len| Buffer::unspecified(device, Kind::Real, len);
    let (mut probabilities, mut losses) = (unwritten(g.len()), unwritten(g.images()));
    let mut summary = unwritten(SUMMARY_LEN);
    toile_kernels::cross_entropy_forward(
        g,
        &Buffer::from_slice(device, logits),
        &Buffer::from_slice(device, labels),
        &mut probabilities,
        &mut losses,
        &mut summary,
    );
    summary.to_vec()
}

/// More rows than the threads that sum their losses, and more than the workgroups that compute
/// them where a device takes no more of those.
#[test]
fn losses_of_many_rows_are_summed() {
    if !gpu::is_there() {
        return;
    }
    for (images, classes) in [(5_000, 10), (600_000, 17)] {
        let g = CrossEntropy { images, classes };
        let (logits, labels) = (reals(0, g.len()), bytes(1, g.images(), classes));
        let [found, expected] =
            [Device::Gpu, Device::Reference].map(|device| summary(device, &g, &logits, &labels));
        assert!((found[0] - expected[0]).abs() < 1e-5, "{found:?} instead of {expected:?}");
        assert_eq!(found[1..], expected[1..]);
    }
}

/// Rows with NaN and infinities, and equal logits, have the hits of the plain loop.
#[test]
fn logits_that_are_not_finite_hit_as_in_the_plain_loop() {
    if !gpu::is_there() {
        return;
    }
    let choices = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1.0, -1.0, -1.5];
    for classes in [1, 3, 10, 100] {
        let g = CrossEntropy { images: 200, classes };
        let draws = bytes(2, g.len(), choices.len() as u32);
        let logits: Vec<_> = draws.iter().map(|&draw| choices[usize::from(draw)]).collect();
        for label in 0..classes.min(20) as u8 {
            let labels = vec![label; g.images()];
            let [found, expected] = [Device::Gpu, Device::Reference]
                .map(|device| summary(device, &g, &logits, &labels));
            assert_eq!(found[1], expected[1], "hits of label {label} of {classes}");
        }
    }
}

#[test]
fn the_loss_of_an_unknown_label_is_not_a_number() {
    if !gpu::is_there() {
        return;
    }
    let g = CrossEntropy { images: 3, classes: 4 };
    let logits = [0.5; 12];
    assert!(summary(Device::Gpu, &g, &logits, &[3, 4, 0])[0].is_nan());
    assert!(summary(Device::Gpu, &g, &logits, &[3, 255, 0])[0].is_nan());
    assert!(summary(Device::Gpu, &g, &logits, &[3, 3, 0])[0].is_finite());
}

/// Bytes that start inside of a word, and an order that names an image which is not there.
#[test]
fn slices_of_a_data_set_are_picked_from() {
    if !gpu::is_there() {
        return;
    }
    let g = Gather { images: 6, available: 5, image_len: 3, offset: 1.0, divisor: 1.0 };
    let numbers: Vec<u8> = (0..23).collect();
    let data = Buffer::from_slice(Device::Gpu, &numbers);
    let order = Buffer::from_slice(Device::Gpu, &[9u32, 9, 4, 0, 3, 4_000_000_000, 5, 1]);
    let order = order.slice(2..8);
    let mut x = Buffer::unspecified(Device::Gpu, Kind::Real, 18);
    let mut picked = Buffer::unspecified(Device::Gpu, Kind::Byte, 6);
    toile_kernels::gather(&g, &data.slice(7..22), &order, &mut x);
    toile_kernels::gather_labels(&g, &data.slice(3..8), &order, &mut picked);
    assert_eq!(picked.to_vec::<u8>(), [7, 3, 6, 7, 7, 4]);
    let expected = [4, 0, 3, 4, 4, 1].map(|image| [0, 1, 2].map(|j| (6 + 3 * image + j) as f32));
    assert_eq!(x.to_vec::<f32>(), expected.concat());
}

/// The summary after a look at `gradients`, from one with this loss.
fn look(device: Device, largest_norm: f32, gradients: &[f32], loss: f32) -> Vec<f32> {
    let g = CheckGradients { len: gradients.len() as u32, largest_norm };
    let mut summary = Buffer::from_slice(device, &[loss, 3.0, 9.0, 9.0]);
    let gradients = Buffer::from_slice(device, gradients);
    toile_kernels::check_gradients(&g, &gradients, &mut summary);
    summary.to_vec()
}

#[test]
fn anything_not_finite_is_unusable() {
    if !gpu::is_there() {
        return;
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0f32.powi(63)] {
        for place in [0, 255, 4_096, 9_999] {
            let mut gradients = [0.5; 10_000];
            gradients[place] = bad;
            assert_eq!(look(Device::Gpu, 1.0, &gradients, 1.0), [1.0, 3.0, 0.0, 1.0]);
        }
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(look(Device::Gpu, 1.0, &[0.5; 20], bad)[2..], [0.0, 1.0]);
    }
    assert_eq!(look(Device::Gpu, 0.0, &[0.5; 20], 1.0), [1.0, 3.0, 1.0, 1.0]);
}

/// Norms of whose squares f32 has no number, and one of numbers of all sizes.
#[test]
fn norms_of_any_size_are_limited() {
    if !gpu::is_there() {
        return;
    }
    let many = reals(3, 2_500_000);
    let all_sizes = |i: usize| many[i] * 2.0f32.powi(i as i32 % 120 - 60);
    let cases: [(f32, Vec<f32>); 6] = [
        (1.0, vec![9e18; 3_000]),
        (1e-25, vec![1e-24; 3_000]),
        (1.5, (0..2_000).map(|i| if i == 0 { 1.0 } else { 0.99 }).collect()),
        (1e17, (0..5_000).map(all_sizes).collect()),
        (1.0, vec![0.0; 20]),
        (25.0, many.clone()),
    ];
    for (largest_norm, gradients) in cases {
        let [found, expected] = [Device::Gpu, Device::Reference]
            .map(|device| look(device, largest_norm, &gradients, 1.0));
        assert_eq!(found[..3], expected[..3]);
        assert!((found[3] / expected[3] - 1.0).abs() < 1e-5, "{found:?}, not {expected:?}");
    }
}

/// Values, both moments, and values and velocities after an update by each rule from 1 and `before`.
fn updates(before: f32, gradient: f32, summary: [f32; 4]) -> [Vec<f32>; 5] {
    let all = |x: f32| Buffer::from_slice(Device::Gpu, &[x; 300]);
    let (gradients, summary) = (all(gradient), Buffer::from_slice(Device::Gpu, &summary));
    let (mut values, mut first, mut second) = (all(1.0), all(before), all(before));
    let g = Adam {
        len: 300,
        decaying: 300,
        rate: 0.1,
        share1: 1.0,
        share2: 1.0,
        epsilon: 1e-7,
        decay: 0.5,
    };
    toile_kernels::adam(&g, &gradients, &summary, &mut values, &mut first, &mut second);
    let (mut other_values, mut velocities) = (all(1.0), all(before));
    let g = Sgd { len: 300, decaying: 0, rate: 0.1, momentum: 0.0, weight_decay: 0.0 };
    toile_kernels::sgd(&g, &gradients, &summary, &mut other_values, &mut velocities);
    [values, first, second, other_values, velocities].map(|x| x.to_vec())
}

#[test]
fn an_unusable_step_changes_nothing() {
    if !gpu::is_there() {
        return;
    }
    let unchanged = [1.0, 0.25, 0.25, 1.0, 0.25].map(|x| vec![x; 300]);
    for gradient in [0.5, f32::NAN, f32::INFINITY] {
        assert_eq!(updates(0.25, gradient, [1.0, 3.0, 0.0, 1.0]), unchanged);
    }
}

#[test]
fn what_is_remembered_of_tiny_gradients_becomes_zero() {
    if !gpu::is_there() {
        return;
    }
    let [_, first, second, _, velocities] = updates(0.0, -1e-30, [1.0, 0.0, 1.0, 1.0]);
    assert_eq!([first, second, velocities], [(); 3].map(|()| vec![0.0; 300]));
    let [_, first, second, _, velocities] = updates(0.0, -1e-17, [1.0, 0.0, 1.0, 1.0]);
    assert!(first.iter().chain(&velocities).all(|&x| x < -9e-18));
    assert!(second.iter().all(|&x| x > 9e-35));
}

fn augmented(device: Device, g: &Augment, pixels: &[u8], order: &[u32]) -> Vec<f32> {
    let mut x = Buffer::unspecified(device, Kind::Real, g.images() * g.gather().image_len());
    let pixels = Buffer::from_slice(device, pixels);
    toile_kernels::augment(g, &pixels, &Buffer::from_slice(device, order), &mut x);
    x.to_vec()
}

const AUGMENT: Augment = Augment {
    images: 3,
    available: 4,
    height: 9,
    width: 8,
    channels: 2,
    seed_low: 7,
    seed_high: 8,
    epoch: 0,
    flip: FLIP_RANDOM,
    shift: 2,
    rotation: 30.0,
    erasing: 0.5,
    offset: 1.0,
    divisor: 1.0,
};

/// Users take turns with more epochs and settings than there are tables kept.
#[test]
fn each_epoch_and_setting_has_its_own_changes() {
    if !gpu::is_there() {
        return;
    }
    let (pixels, order) = (bytes(4, 4 * 9 * 8 * 2, 256), [3, 0, 2]);
    for _ in 0..2 {
        for epoch in [0, 1, 2] {
            let g = Augment { epoch, ..AUGMENT };
            let calls = [
                g,
                Augment { seed_low: 9, ..g },
                Augment { seed_high: 9, ..g },
                Augment { images: 2, offset: 3.0, ..g },
                Augment { rotation: 5.0, ..g },
                Augment { height: 8, width: 9, ..g },
                Augment { available: 3, erasing: 1.0, ..g },
                g,
            ];
            for g in calls {
                let order = order[..g.images()].iter().map(|&i| i.min(g.available - 1));
                let order: Vec<_> = order.collect();
                let pixels = &pixels[..g.available() * 9 * 8 * 2];
                let [found, expected] =
                    [Device::Gpu, Device::Cpu].map(|device| augmented(device, &g, pixels, &order));
                assert_eq!(found, expected, "{g:?}");
            }
        }
    }
}

/// Places of the longest sides, turned by up to half a circle, keep to 32 bits.
#[test]
fn long_sides_are_turned_as_on_the_cpu() {
    if !gpu::is_there() {
        return;
    }
    for (height, width) in [(4096, 40), (40, 4096)] {
        let sides = Augment { height, width, channels: 1, available: 8, ..AUGMENT };
        let g = Augment { shift: 39, rotation: 180.0, offset: 0.0, ..sides };
        let pixels = bytes(5, 8 * 4096 * 40, 256);
        let [found, expected] =
            [Device::Gpu, Device::Cpu].map(|device| augmented(device, &g, &pixels, &[1, 4, 7]));
        assert_eq!(found, expected);
    }
}

/// Mixed images and shares of several steps, none of which is read before all are called.
fn mixed(device: Device, g: &Mix, x: &[f32]) -> Vec<[Vec<f32>; 2]> {
    let x = Buffer::from_slice(device, x);
    let unwritten = |len| Buffer::unspecified(device, Kind::Real, len);
    let steps: Vec<_> = (0..6)
        .map(|step| {
            let mut outputs = [unwritten(g.len()), unwritten(g.images())];
            let [mixed, shares] = &mut outputs;
            toile_kernels::mix(&Mix { step, ..*g }, &x, mixed, shares);
            outputs
        })
        .collect();
    steps.iter().map(|step| step.each_ref().map(|x| x.to_vec())).collect()
}

/// The tables of earlier steps are not overwritten before they were used.
#[test]
fn each_step_is_mixed_as_on_the_cpu() {
    if !gpu::is_there() {
        return;
    }
    for method in [MIXUP, CUTMIX] {
        let (seed_low, seed_high, step, alpha) = (7, 8, 0, 1.0);
        let (images, height, width, channels) = (9, 6, 7, 2);
        let g = Mix { images, height, width, channels, method, seed_low, seed_high, step, alpha };
        let x = reals(6, g.len());
        let [found, expected] = [Device::Gpu, Device::Cpu].map(|device| mixed(device, &g, &x));
        for ([found, found_shares], [expected, shares]) in found.iter().zip(&expected) {
            assert_eq!(found_shares, shares);
            let largest = if method == CUTMIX { 0.0 } else { 1e-6 };
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= largest));
        }
    }
}

/// `len` whole numbers from -2 to 2.
fn whole(purpose: u32, len: usize) -> Vec<f32> {
    bytes(purpose, len, 5).into_iter().map(|byte| f32::from(byte) - 2.0).collect()
}

/// `values` as an operand that begins within its block, at a multiple of four or not.
fn operand(device: Device, start: usize, values: &[f32]) -> Buffer {
    let block = [&vec![f32::NAN; start], values].concat();
    Buffer::from_slice(device, &block).slice(start..block.len())
}

/// The three products of a geometry.
fn products(device: Device, g: &Gemm, start: usize) -> [Vec<f32>; 3] {
    let a = operand(device, start, &whole(8, g.left_len()));
    let b = operand(device, start, &whole(9, g.right_len()));
    [toile_kernels::gemm_nn, toile_kernels::gemm_nt, toile_kernels::gemm_tn].map(|product| {
        let mut c = operand(device, start, &vec![0.0; g.result_len()]);
        product(g, &a, &b, &mut c);
        c.to_vec()
    })
}

/// Tiles of all three sizes, full and not, and terms that are cut into slices, the last of which is
/// shorter; operands and results that are read and written by vectors, and by numbers.
#[test]
fn products_of_all_tiles_and_slices_are_exact() {
    if !gpu::is_there() {
        return;
    }
    let sizes = [
        (1, 1, 1),
        (4, 4, 0),
        (64, 64, 16),
        (65, 64, 48),
        (63, 68, 20),
        (128, 32, 36),
        (129, 33, 17),
        (132, 12, 1024),
        (60, 100, 520),
        (3, 5, 777),
        (64, 32, 130),
    ];
    for (rows, columns, depth) in sizes {
        let g = Gemm { rows, columns, depth };
        for start in [0, 3, 4] {
            let [found, expected] =
                [Device::Gpu, Device::Reference].map(|device| products(device, &g, start));
            assert!(found == expected, "{g:?} from {start} on");
        }
    }
}

/// All passes of a convolution.
fn passes(device: Device, g: &Conv2d) -> [Vec<f32>; 3] {
    let lens = [g.input_len(), g.weight_len(), g.output_len()];
    let [x, w, dy] = [0, 1, 2].map(|i| Buffer::from_slice(device, &whole(10 + i as u32, lens[i])));
    let [mut dx, mut dw, mut y] = lens.map(|len| Buffer::unspecified(device, Kind::Real, len));
    toile_kernels::conv2d_forward(g, &x, &w, &mut y);
    toile_kernels::conv2d_backward_input(g, &dy, &w, &mut dx);
    toile_kernels::conv2d_backward_weight(g, &x, &dy, &mut dw);
    [y, dx, dw].map(|x| x.to_vec())
}

/// Channels that come in fours and others; sums long enough to be cut in each pass.
#[test]
fn convolutions_of_all_tiles_and_slices_are_exact() {
    if !gpu::is_there() {
        return;
    }
    for (images, side, channels) in
        [(9, 9, (4, 8)), (3, 7, (36, 68)), (5, 8, (3, 34)), (2, 6, (33, 2))]
    {
        for (kernel, stride, padding) in [(3, 1, 0), (2, 2, 1)] {
            let g = Conv2d {
                images,
                height: side,
                width: side + 1,
                in_channels: channels.0,
                out_channels: channels.1,
                kernel_height: kernel,
                kernel_width: kernel,
                stride,
                padding,
            };
            let [found, expected] =
                [Device::Gpu, Device::Reference].map(|device| passes(device, &g));
            assert!(found == expected, "{g:?}");
        }
    }
}
