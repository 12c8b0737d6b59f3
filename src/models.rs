//! Named networks as lists of layers.

use crate::nn::{BatchNorm, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, Relu};

/// The reference network: 538,346 numbers for ten classes of 28 by 28 grey images, of which
/// 536,874 are trained.
///
/// ```
/// use toile::{Device, Shape, models, nn::Sequential};
/// let layers = models::reference(10);
/// let network = Sequential::new(&layers, Shape::new(&[28, 28, 1]), Device::Cpu, 42);
/// assert_eq!(network.summary().parameters(), 538_346);
/// assert_eq!(network.summary().trainable(), 536_874);
/// assert_eq!(network.summary().multiply_adds(), 10_396_288);
/// ```
#[must_use]
pub fn reference(classes: usize) -> Vec<Layer> {
    vec![
        Conv2d::new(32, 3).into(),
        BatchNorm::default().into(),
        Relu {}.into(),
        Conv2d::new(32, 3).into(),
        Relu {}.into(),
        MaxPool2d::new(2).into(),
        Dropout::new(0.25).into(),
        Conv2d::new(64, 3).into(),
        BatchNorm::default().into(),
        Relu {}.into(),
        Conv2d::new(64, 3).into(),
        Relu {}.into(),
        MaxPool2d::new(2).into(),
        Dropout::new(0.25).into(),
        Conv2d::new(128, 3).into(),
        BatchNorm::default().into(),
        Dropout::new(0.25).into(),
        Flatten {}.into(),
        Dense::new(512).into(),
        BatchNorm::default().into(),
        Relu {}.into(),
        Dropout::new(0.5).into(),
        Dense::new(256).into(),
        Relu {}.into(),
        Dropout::new(0.5).into(),
        Dense::new(classes).into(),
    ]
}
