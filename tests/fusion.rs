//! Fused stages against the same layers one by one: the same bits, but for the first weight
//! gradient of a thin block, which comes within a stated bound.

use toile::nn::{
    BatchNorm, Conv2d, Dense, Dropout, Flatten, Fusion, Layer, MaxPool2d, Relu, Sequential,
};
use toile::optim::{Optimizer, OptimizerSettings};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, models};
use toile_kernels::rng::Stream;

/// Made-up images of shape [N, H, W, C].
fn images(shape: Shape) -> Tensor {
    let stream = Stream { seed: 1, purpose: 0, step: 0 };
    let pixels: Vec<f32> = (0..shape.len() as u64).map(|i| stream.uniform(i)).collect();
    Tensor::new(Device::Cpu, shape, &pixels)
}

/// All gradients of a network's first step on `count` images; and all numbers after three steps,
/// and the answers then.
fn train(
    layers: &[Layer],
    image: [usize; 3],
    count: usize,
    fusion: Fusion,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let [height, width, channels] = image;
    let mut network = Sequential::with_fusion(layers, Shape::new(&image), Device::Cpu, 42, fusion);
    let mut optimizer = Optimizer::new(network.parameters(), OptimizerSettings::default());
    let x = images(Shape::new(&[count, height, width, channels]));
    let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
    let labels = Buffer::from_slice(Device::Cpu, &labels);
    let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
    let mut gradients = Vec::new();
    for step in 0..3 {
        let loss = network.forward_train(&x, 42, step).cross_entropy(&labels, &mut summary);
        network.parameters().check_reached(&loss.mean.backward());
        if step == 0 {
            gradients = network.parameters().gradients().to_vec();
        }
        optimizer.update(network.parameters(), 1e-2, step.into(), &mut summary);
    }
    assert_eq!(summary.to_vec::<f32>()[2], 1.0, "the update was made");
    let mut all: Vec<Vec<f32>> = network.parameters().iter().map(|p| p.values().to_vec()).collect();
    all.push(network.forward(&x).to_vec());
    (gradients, all)
}

/// The numbers of the first weights, which a thin block sums up in another order.
fn is_close(fused: &[f32], alone: &[f32]) -> bool {
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    let gap = norm(&mut fused.iter().zip(alone).map(|(a, b)| a - b));
    gap <= 1e-5 * norm(&mut alone.iter().copied())
}

/// `thin` says how many first weights the network has if it begins with a thin block, else 0.
fn assert_same(layers: &[Layer], image: [usize; 3], count: usize, thin: usize) {
    let [fused, alone] = [Fusion::On, Fusion::Off].map(|f| train(layers, image, count, f));
    let about = format!("{layers:?} on {count} images");
    let bits = |x: &[f32]| -> Vec<u32> { x.iter().map(|x| x.to_bits()).collect() };
    assert!(bits(&fused.0[thin..]) == bits(&alone.0[thin..]), "gradients of {about}");
    assert!(is_close(&fused.0[..thin], &alone.0[..thin]), "first weight gradient of {about}");
    if thin == 0 {
        for (tensor, (fused, alone)) in fused.1.iter().zip(&alone.1).enumerate() {
            assert!(bits(fused) == bits(alone), "tensor {tensor} of {about} has other bits");
        }
    }
}

/// Both blocks by Winograd's algorithm, one shard and several with a part of one.
#[test]
fn the_reference_network() {
    for count in [3, 37] {
        assert_same(&models::reference(3), [28, 28, 1], count, 9 * 32);
        // With two channels no block is thin.
        assert_same(&models::reference(3), [28, 28, 2], count, 0);
    }
}

/// Channels that fill no vector, padding, strides, windows that overlap or leave borders, and
/// convolutions without pool or dropout.
#[test]
fn odd_networks() {
    let padded = Conv2d { padding: 1, ..Conv2d::new(5, 3) };
    let strided = Conv2d { stride: 2, ..Conv2d::new(7, 2) };
    let head = [Flatten {}.into(), Dense::new(3).into()];
    let overlapping = MaxPool2d { window: 3, stride: 2 };
    let bodies: [Vec<Layer>; 4] = [
        vec![padded.clone().into(), Relu {}.into()],
        vec![strided.clone().into(), Relu {}.into(), Dropout::new(0.3).into()],
        vec![
            padded.clone().into(),
            BatchNorm::default().into(),
            Relu {}.into(),
            strided.into(),
            Relu {}.into(),
            overlapping.into(),
        ],
        vec![
            Conv2d::new(4, 2).into(),
            Relu {}.into(),
            MaxPool2d::new(2).into(),
            padded.into(),
            BatchNorm::default().into(),
            Relu {}.into(),
            Conv2d::new(17, 1).into(),
            Relu {}.into(),
            MaxPool2d::new(2).into(),
            Dropout::new(0.5).into(),
        ],
    ];
    for body in bodies {
        let layers: Vec<Layer> = body.into_iter().chain(head.clone()).collect();
        for count in [1, 20] {
            assert_same(&layers, [11, 12, 2], count, 0);
        }
    }
}
