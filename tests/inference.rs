//! A network that only answers against the same network layer by layer.

use toile::nn::{BatchNorm, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, Relu, Sequential};
use toile::{Device, Shape, Tensor, models};
use toile_kernels::Isa;
use toile_kernels::rng::Stream;
use toile_kernels::threads::Workers;

fn images(device: Device, count: usize, [height, width, channels]: [usize; 3]) -> Tensor {
    let shape = Shape::new(&[count, height, width, channels]);
    let stream = Stream { seed: 1, purpose: 0, step: 0 };
    let pixels: Vec<f32> = (0..shape.len() as u64).map(|i| stream.uniform(i)).collect();
    Tensor::new(device, shape, &pixels)
}

/// A network whose running statistics and biases are not what they started as.
fn network(layers: &[Layer], image: [usize; 3], device: Device) -> Sequential {
    let mut network = Sequential::new(layers, Shape::new(&image), device, 42);
    let names: Vec<(String, usize)> =
        network.parameters().iter().map(|p| (p.name().to_owned(), p.shape().len())).collect();
    for (i, (name, len)) in names.iter().enumerate() {
        let stream = Stream { seed: 2, purpose: i as u32, step: 0 };
        let around = |centre: f32| -> Vec<f32> {
            (0..*len as u64).map(|k| centre + 0.4 * (stream.uniform(k) - 0.5)).collect()
        };
        match name.split('.').next_back() {
            Some("weight") => {}
            Some("gamma" | "variance") => network.parameters_mut().set(name, &around(1.0)),
            _ => network.parameters_mut().set(name, &around(0.0)),
        }
    }
    network
}

/// The largest error that an answer may have, in largest answers.
const BOUND: f64 = 2e-6;
/// The same for a single convolution by tiles of six, as in the kernels' own tests: nothing behind
/// it evens its errors out.
const TILES_BOUND: f64 = 4e-6;

/// Answers of the packed network, of the layers one by one, and of these in f64.
fn assert_agree(layers: &[Layer], image: [usize; 3], count: usize, bound: f64) {
    let fast = network(layers, image, Device::Cpu);
    let truth: Vec<f64> = network(layers, image, Device::Reference)
        .inference()
        .forward(&images(Device::Reference, count, image))
        .to_vec();
    let x = images(Device::Cpu, count, image);
    let inference = fast.inference();
    let packed = |threads| {
        let workers = Workers::new(threads).expect("a few threads");
        (format!("packed, {threads} threads"), workers.run(|| inference.forward(&x)))
    };
    let alone = fast.forward(&x);
    let largest = truth.iter().fold(0.0f64, |largest, y| largest.max(y.abs()));
    for (name, answers) in (1..=4).map(packed).chain([("alone".to_owned(), alone.clone())]) {
        assert_eq!(answers.shape(), alone.shape());
        for (found, expected) in answers.to_vec::<f64>().iter().zip(&truth) {
            let error = (found - expected).abs() / largest;
            assert!(error < bound, "{name}: {found} instead of {expected}, {layers:?}");
        }
    }
}

#[test]
fn the_reference_network() {
    for count in [1, 5] {
        assert_agree(&models::reference(10), [28, 28, 1], count, BOUND);
    }
}

/// Batch norm first, after a pool and after ReLU; ReLU and pools alone; padding and strides.
#[test]
fn odd_networks() {
    let padded = Conv2d { padding: 1, ..Conv2d::new(5, 3) };
    let strided = Conv2d { stride: 2, ..Conv2d::new(16, 2) };
    let by_tiles = |filters| Conv2d { padding: 1, ..Conv2d::new(filters, 3) };
    let layers: [Vec<Layer>; 7] = [
        vec![
            BatchNorm::default().into(),
            padded.clone().into(),
            BatchNorm::default().into(),
            BatchNorm::default().into(),
            Relu {}.into(),
            MaxPool2d { window: 3, stride: 2 }.into(),
            BatchNorm::default().into(),
            Dropout::new(0.5).into(),
            Flatten {}.into(),
            Dense::new(7).into(),
            Relu {}.into(),
            BatchNorm::default().into(),
            Dense::new(3).into(),
        ],
        vec![
            MaxPool2d::new(2).into(),
            strided.into(),
            MaxPool2d::new(2).into(),
            Relu {}.into(),
            Relu {}.into(),
            Flatten {}.into(),
        ],
        vec![padded.into(), Relu {}.into(), Flatten {}.into(), Dense::new(20).into()],
        // Panels of which the last is half empty.
        vec![
            Conv2d::new(16, 2).into(),
            by_tiles(48).into(),
            Relu {}.into(),
            MaxPool2d::new(3).into(),
            by_tiles(80).into(),
            Flatten {}.into(),
        ],
        // Pools in the registers of six, six and two outputs: a column left over, half a panel.
        vec![
            Conv2d::new(16, 2).into(),
            by_tiles(16).into(),
            Relu {}.into(),
            MaxPool2d::new(2).into(),
            by_tiles(48).into(),
            Relu {}.into(),
            MaxPool2d::new(2).into(),
            by_tiles(16).into(),
            Relu {}.into(),
            MaxPool2d::new(2).into(),
            Flatten {}.into(),
        ],
        // Each pixel of a channel has a norm of its own.
        vec![
            Conv2d::new(4, 3).into(),
            Flatten {}.into(),
            BatchNorm::default().into(),
            Dense::new(3).into(),
        ],
        // What is left of this one is nothing at all.
        vec![Flatten {}.into(), Dropout::new(0.5).into()],
    ];
    for layers in layers {
        for count in [1, 40] {
            assert_agree(&layers, [13, 12, 2], count, BOUND);
        }
    }
}

/// Thin convolutions, the last before one by tiles of five whose windows overlap. Without FMA, a term is
/// rounded twice, and what the kernels' own tests allow for such tiles is needed.
#[test]
fn thin_convolutions() {
    let layers = [
        Conv2d::new(3, 2).into(),
        Conv2d::new(1, 2).into(),
        Conv2d::new(16, 2).into(),
        Conv2d { padding: 1, ..Conv2d::new(16, 3) }.into(),
        Relu {}.into(),
        MaxPool2d { window: 3, stride: 2 }.into(),
        Flatten {}.into(),
    ];
    let bound = if Isa::current() == Isa::Portable { TILES_BOUND } else { BOUND };
    for count in [1, 40] {
        assert_agree(&layers, [13, 12, 2], count, bound);
    }
}

/// Pools in the registers where a row or a column of pixels is left over in a tile of its own.
#[test]
fn pools_of_odd_images() {
    // One panel and, with the widest vectors, two.
    for filters in [32, 48] {
        let tiles = Conv2d { padding: 1, ..Conv2d::new(filters, 3) };
        let layers = [tiles.into(), Relu {}.into(), MaxPool2d::new(2).into(), Flatten {}.into()];
        for (height, width) in [(13, 12), (12, 13), (7, 6), (3, 2), (2, 3), (5, 5)] {
            for count in [1, 2] {
                assert_agree(&layers, [height, width, 16], count, TILES_BOUND);
            }
        }
    }
}

/// Steps that are not cut, the last of which has a longer result than the first.
#[test]
fn steps_that_grow() {
    let layers = [
        BatchNorm::default().into(),
        Conv2d::new(8, 1).into(),
        Flatten {}.into(),
        Dense::new(200).into(),
        Dense::new(10).into(),
    ];
    assert_agree(&layers, [1, 300, 1], 1, BOUND);
}

/// A single image leaves out what is 0 behind a ReLU, but not where 0 times a weight is NaN.
#[test]
fn zeros_times_infinity() {
    let layers = [Flatten {}.into(), Dense::new(3).into(), Relu {}.into(), Dense::new(138).into()];
    let mut network = network(&layers, [2, 2, 1], Device::Cpu);
    let names: Vec<String> = network.parameters().iter().map(|p| p.name().to_owned()).collect();
    let [_, bias, weight, _] = &names[..] else { panic!("four parameters, found {names:?}") };
    network.parameters_mut().set(bias, &[1e3, -1e3, 1e3]);
    let mut weights = vec![1.0; 3 * 138];
    for class in [65, 130] {
        weights[138 + class] = f32::INFINITY;
    }
    network.parameters_mut().set(weight, &weights);
    let x = images(Device::Cpu, 1, [2, 2, 1]);
    for threads in 1..=3 {
        let workers = Workers::new(threads).expect("a few threads");
        let answers: Vec<f32> = workers.run(|| network.inference().forward(&x).to_vec());
        for (class, answer) in answers.iter().enumerate() {
            assert_eq!(
                answer.is_nan(),
                [65, 130].contains(&class),
                "class {class}: {answer}, {threads} threads"
            );
        }
    }
}

/// A single image leaves out what is 0 in rows of more numbers than are listed at a time, and its
/// answer is that in company, bit for bit.
#[test]
fn long_rows_behind_relu() {
    let layers =
        [Flatten {}.into(), Dense::new(1100).into(), Relu {}.into(), Dense::new(138).into()];
    let inference = network(&layers, [2, 2, 1], Device::Cpu);
    let inference = inference.inference();
    let all = images(Device::Cpu, 9, [2, 2, 1]);
    let (pixels, expected) = (all.to_vec::<f32>(), inference.forward(&all).to_vec::<f32>());
    for threads in 1..=3 {
        let workers = Workers::new(threads).expect("a few threads");
        for (x, expected) in pixels.chunks(4).zip(expected.chunks(138)) {
            let x = Tensor::new(Device::Cpu, Shape::new(&[1, 2, 2, 1]), x);
            let found: Vec<f32> = workers.run(|| inference.forward(&x).to_vec());
            assert!(found == expected, "{threads} threads");
        }
    }
}

/// An image's answer is the same bits alone, in any batch, on any number of threads, and from
/// several threads that ask at the same time.
#[test]
fn answers_do_not_depend_on_company() {
    let image = [28, 28, 1];
    let network = network(&models::reference(10), image, Device::Cpu);
    let inference = network.inference();
    let all = images(Device::Cpu, 70, image);
    let pixels: Vec<f32> = all.to_vec();
    let expected: Vec<f32> = inference.forward(&all).to_vec();
    std::thread::scope(|scope| {
        for threads in 1..=3 {
            let (inference, pixels, expected) = (&inference, &pixels, &expected);
            scope.spawn(move || {
                let workers = Workers::new(threads).expect("a few threads");
                for count in [1, 2, 35, 70] {
                    for first in [0, 70 - count] {
                        let some = &pixels[first * 784..(first + count) * 784];
                        let x = Tensor::new(Device::Cpu, Shape::new(&[count, 28, 28, 1]), some);
                        let found: Vec<f32> = workers.run(|| inference.forward(&x).to_vec());
                        assert!(
                            found == expected[first * 10..(first + count) * 10],
                            "{count} images from {first} on {threads} threads"
                        );
                    }
                }
            });
        }
    });
}
