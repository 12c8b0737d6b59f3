//! Fused stages against the same layers one by one: the same bits.

use toile::nn::{
    BatchNorm, Conv2d, Dense, Dropout, Flatten, Fusion, Layer, MaxPool2d, Relu, Sequential,
};
use toile::optim::{Adam, AdamConstants};
use toile::{Buffer, Device, SUMMARY_LEN, Shape, Tensor, models};
use toile_kernels::rng::Stream;

/// Made-up images of shape [N, H, W, C].
fn images(shape: Shape) -> Tensor {
    let stream = Stream { seed: 1, purpose: 0, step: 0 };
    let pixels: Vec<f32> = (0..shape.len() as u64).map(|i| stream.uniform(i)).collect();
    Tensor::new(Device::Cpu, shape, &pixels)
}

/// All numbers of a network after three steps on `count` images, and its answers then.
fn train(layers: &[Layer], image: [usize; 3], count: usize, fusion: Fusion) -> Vec<Vec<u32>> {
    let [height, width, channels] = image;
    let mut network = Sequential::with_fusion(layers, Shape::new(&image), Device::Cpu, 42, fusion);
    let mut optimizer = Adam::new(network.parameters(), AdamConstants::default());
    let x = images(Shape::new(&[count, height, width, channels]));
    let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
    let labels = Buffer::from_slice(Device::Cpu, &labels);
    let mut summary = Buffer::zeros(Device::Cpu, SUMMARY_LEN);
    for step in 0..3 {
        let loss = network.forward_train(&x, 42, step).cross_entropy(&labels, &mut summary);
        network.parameters().check_reached(&loss.mean.backward());
        optimizer.update(network.parameters(), 1e-2, step.into(), &mut summary);
    }
    assert_eq!(summary.to_vec::<f32>()[2], 1.0, "the update was made");
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let mut all: Vec<Vec<u32>> =
        network.parameters().iter().map(|p| bits(p.values().to_vec())).collect();
    all.push(bits(network.forward(&x).to_vec()));
    all
}

fn assert_same(layers: &[Layer], image: [usize; 3], count: usize) {
    let [fused, alone] = [Fusion::On, Fusion::Off].map(|f| train(layers, image, count, f));
    for (tensor, (fused, alone)) in fused.iter().zip(&alone).enumerate() {
        assert!(fused == alone, "tensor {tensor} of {layers:?} on {count} images has other bits");
    }
}

/// Both blocks by Winograd's algorithm, one shard and several with a part of one.
#[test]
fn the_reference_network() {
    for count in [3, 37] {
        assert_same(&models::reference(3), [28, 28, 1], count);
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
            assert_same(&layers, [11, 12, 2], count);
        }
    }
}
