//! How far Winograd's algorithm and direct convolution are from f64 on the reference network's
//! layers: root mean square of the error over that of the result.
//!
//! ```text
//! cargo test -p toile-kernels --test winograd_error -- --nocapture
//! ```

use toile_kernels::geometry::Conv2d;
use toile_kernels::rng::Stream;
use toile_kernels::{
    Algorithm, Buffer, Device, algorithm, conv2d_backward_input, conv2d_backward_weight,
    conv2d_forward, with_direct_convolution,
};

/// The error that Winograd's algorithm may have, in errors of direct convolution.
const LARGEST_RATIO: f64 = 8.0;

/// Numbers from -1 to 1, or the larger of those and 0, as after a ReLU.
fn numbers(len: usize, purpose: u32, positive: bool) -> Vec<f64> {
    let stream = Stream { seed: 1, purpose, step: 0 };
    let signed = (0..len as u64).map(|i| f64::from(2.0 * stream.uniform(i) - 1.0));
    signed.map(|x| if positive { x.max(0.0) } else { x }).collect()
}

type Pass = fn(&Conv2d, &Buffer, &Buffer, &mut Buffer);

/// A pass, its two operands and the length of its result.
fn passes(g: &Conv2d) -> [(&'static str, Pass, [Vec<f64>; 2], usize); 3] {
    let x = numbers(g.input_len(), 1, true);
    let w = numbers(g.weight_len(), 2, false);
    let dy = numbers(g.output_len(), 3, false);
    [
        ("forward", conv2d_forward as Pass, [x.clone(), w.clone()], g.output_len()),
        ("input gradient", conv2d_backward_input as Pass, [dy.clone(), w], g.input_len()),
        ("weight gradient", conv2d_backward_weight as Pass, [x, dy], g.weight_len()),
    ]
}

fn run(device: Device, g: &Conv2d, pass: Pass, operands: &[Vec<f64>; 2], len: usize) -> Vec<f64> {
    let [a, b] = [&operands[0], &operands[1]].map(|x| Buffer::from_slice(device, x));
    let mut result = Buffer::zeros(device, len);
    pass(g, &a, &b, &mut result);
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
    for (name, side, in_channels, out_channels) in
        [("conv2", 26, 32, 32), ("conv3", 12, 32, 64), ("conv4", 10, 64, 64), ("conv5", 4, 64, 128)]
    {
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
        assert_ne!(algorithm(&g), Algorithm::Direct, "{name}");
        for (pass_name, pass, operands, len) in passes(&g) {
            // What the kernels read are the numbers rounded to f32; so must the truth.
            let rounded = operands.map(|x| x.iter().map(|&x| f64::from(x as f32)).collect());
            let truth = run(Device::Reference, &g, pass, &rounded, len);
            let fast = relative_error(&run(Device::Cpu, &g, pass, &rounded, len), &truth);
            let direct = with_direct_convolution(|| run(Device::Cpu, &g, pass, &rounded, len));
            let direct = relative_error(&direct, &truth);
            let ratio = fast / direct;
            println!("{name} {pass_name:18} {direct:10.1e} {fast:10.1e} {ratio:7.1}");
            assert!(ratio <= LARGEST_RATIO, "{name} {pass_name}: {fast:e} to {direct:e}");
        }
    }
}
