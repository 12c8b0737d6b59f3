//! How far Winograd's algorithm and direct convolution are from f64 on the reference network's
//! layers: root mean square of the error over that of the result.
//!
//! ```text
//! cargo test -p toile-kernels --test winograd_error -- --nocapture
//! ```

#[path = "common/one_layer.rs"]
mod one_layer;

use toile_kernels::geometry::Conv2d;
use toile_kernels::inference::{Inference, Layer};
use toile_kernels::rng::Stream;
use toile_kernels::{
    Algorithm, Buffer, Device, algorithm, conv2d_backward_input, conv2d_backward_weight,
    conv2d_forward, with_direct_convolution,
};

/// Numbers from -1 to 1, or the larger of those and 0, as after a ReLU. All are f32, so that the
/// kernels read what the truth is made of.
fn numbers(len: usize, purpose: u32, positive: bool) -> Vec<f64> {
    let stream = Stream { seed: 1, purpose, step: 0 };
    let signed = (0..len as u64).map(|i| f64::from(2.0 * stream.uniform(i) - 1.0));
    signed.map(|x| if positive { x.max(0.0) } else { x }).collect()
}

type Function = fn(&Conv2d, &Buffer, &Buffer, &mut Buffer);

/// A pass, its two operands and the length of its result.
struct Pass {
    name: &'static str,
    function: Function,
    operands: [Vec<f64>; 2],
    len: usize,
}

fn passes(g: &Conv2d) -> [Pass; 4] {
    let x = numbers(g.input_len(), 1, true);
    let w = numbers(g.weight_len(), 2, false);
    let dy = numbers(g.output_len(), 3, false);
    let pass = |name, function, operands, len| Pass { name, function, operands, len };
    [
        pass("forward", conv2d_forward, [x.clone(), w.clone()], g.output_len()),
        pass("inference", one_layer::infer, [x.clone(), w.clone()], g.output_len()),
        pass("input gradient", conv2d_backward_input, [dy.clone(), w], g.input_len()),
        pass("weight gradient", conv2d_backward_weight, [x, dy], g.weight_len()),
    ]
}

fn run(device: Device, g: &Conv2d, pass: &Pass) -> Vec<f64> {
    let [a, b] = pass.operands.each_ref().map(|x| Buffer::from_slice(device, x));
    let mut result = Buffer::zeros(device, pass.len);
    (pass.function)(g, &a, &b, &mut result);
    result.to_vec()
}

fn relative_error(found: &[f64], truth: &[f64]) -> f64 {
    let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let gap = squares(&mut found.iter().zip(truth).map(|(a, b)| a - b));
    (gap / squares(&mut truth.iter().copied())).sqrt()
}

#[test]
fn errors_on_the_reference_network() {
    println!("{:24} {:>10} {:>10} {:>7}", "", "direct", "Winograd", "ratio");
    // The last is the error that Winograd's algorithm may have, in errors of direct convolution:
    // 9.5, 7.2, 4.7 and 1.8 are the largest that were measured.
    for (name, side, in_channels, out_channels, outputs, largest_ratio) in [
        ("conv2", 26, 32, 32, 6, 14.0),
        ("conv3", 12, 32, 64, 5, 11.0),
        ("conv4", 10, 64, 64, 4, 8.0),
        ("conv5", 4, 64, 128, 2, 8.0),
    ] {
        let g = Conv2d {
            images: 2,
            height: side,
            width: side,
            in_channels,
            out_channels,
            kernel_height: 3,
            kernel_width: 3,
            stride: 1,
            padding: 0,
        };
        assert_eq!(algorithm(&g), Algorithm::Winograd(outputs), "{name}");
        for pass in passes(&g) {
            let truth = run(Device::Reference, &g, &pass);
            let fast = relative_error(&run(Device::Cpu, &g, &pass), &truth);
            let direct = with_direct_convolution(|| run(Device::Cpu, &g, &pass));
            let direct = relative_error(&direct, &truth);
            let ratio = fast / direct;
            println!("{name} {:18} {direct:10.1e} {fast:10.1e} {ratio:7.1}", pass.name);
            assert!(ratio <= largest_ratio, "{name} {}: {fast:e} to {direct:e}", pass.name);
        }
    }
}

const CONV1: Conv2d = Conv2d {
    images: 1,
    height: 28,
    width: 28,
    in_channels: 1,
    out_channels: 32,
    kernel_height: 3,
    kernel_width: 3,
    stride: 1,
    padding: 0,
};

/// The first convolution of a network that only answers, whose outputs are computed in pairs.
#[test]
fn errors_in_pairs() {
    let g = CONV1;
    let [_, pass, ..] = passes(&g);
    let truth = run(Device::Reference, &g, &pass);
    let fast = relative_error(&run(Device::Cpu, &g, &pass), &truth);
    let direct = with_direct_convolution(|| run(Device::Cpu, &g, &pass));
    let direct = relative_error(&direct, &truth);
    println!("conv1 {:18} {direct:10.1e} {fast:10.1e} {:7.1}", pass.name, fast / direct);
    // 1.3 was measured. Equal errors would be those of direct convolution alone.
    assert!(fast != direct && fast <= 2.0 * direct, "{fast:e} to {direct:e}");
}

/// The same with biases of several outputs' size: they are rounded once more for each row of the
/// kernel, while direct convolution adds them last.
#[test]
fn errors_in_pairs_with_biases() {
    let g = CONV1;
    let (x, w) = (numbers(g.input_len(), 1, true), numbers(g.weight_len(), 2, false));
    let biases: Vec<f64> = numbers(32, 4, false).iter().map(|x| 8.0 * x).collect();
    let [_, pass, ..] = passes(&g);
    let mut truth = run(Device::Reference, &g, &pass);
    truth.iter_mut().zip(biases.iter().cycle()).for_each(|(y, bias)| *y += bias);
    let real = |numbers: &[f64]| numbers.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let infer = || {
        let layer = Layer::Conv { geometry: g, weight: real(&w), bias: real(&biases) };
        let mut y = Buffer::zeros(Device::Cpu, g.output_len());
        Inference::new(&[layer], g.image_len()).run(&Buffer::from_slice(Device::Cpu, &x), &mut y);
        relative_error(&y.to_vec(), &truth)
    };
    let (fast, direct) = (infer(), with_direct_convolution(infer));
    println!("conv1 {:18} {direct:10.1e} {fast:10.1e} {:7.1}", "with biases", fast / direct);
    // 2.0 was measured.
    assert!(fast != direct && fast <= 3.0 * direct, "{fast:e} to {direct:e}");
}
