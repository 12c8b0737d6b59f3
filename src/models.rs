//! Named networks as lists of layers.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{BatchNorm, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, Relu};

/// The name of the network that is trained if no other is asked for.
pub const REFERENCE: &str = "reference";

/// Which share of the numbers dropout sets to 0 in training; the default is the reference
/// recipe's. Answers do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropoutRates {
    /// Behind convolutions, at least 0 and below 1.
    pub convolution: f64,
    /// Behind full connections, likewise.
    pub dense: f64,
}

impl Default for DropoutRates {
    fn default() -> Self {
        DropoutRates { convolution: 0.25, dense: 0.5 }
    }
}

/// The layers of the network `name` for images of `input` = [height, width, channels] and this
/// many classes, with these rates of dropout.
///
/// # Errors
/// [`Error::Input`] if there is no such network or it does not take such images.
pub fn layers(
    name: &str,
    input: [usize; 3],
    classes: usize,
    dropout: DropoutRates,
) -> Result<Vec<Layer>> {
    if name != REFERENCE {
        return Err(Error::Input(format!("no network is named {name:?}; known: {REFERENCE}")));
    }
    let [height, width, channels] = input;
    // Below 24 pixels the last kernel does not fit what the pools leave of the image; from 132
    // on the first dense layer would have more than 50 million weights.
    let fits = |size: usize| (24..=128).contains(&size);
    if !fits(height) || !fits(width) || !(1..=16).contains(&channels) {
        return Err(Error::Input(format!(
            "the {REFERENCE} network takes images of 24 to 128 pixels a side and 1 to 16 \
             channels, found {height} by {width} by {channels}"
        )));
    }
    if !(1..=256).contains(&classes) {
        return Err(Error::Input(format!("expected 1 to 256 classes, found {classes}")));
    }
    Ok(reference_with(classes, dropout))
}

/// The reference network: 538,346 numbers for ten classes of 28 by 28 grey images, of which
/// 536,874 are trainable, the 736 biases before a batch norm included.
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
    reference_with(classes, DropoutRates::default())
}

/// The same with other rates of dropout.
#[must_use]
pub fn reference_with(classes: usize, rates: DropoutRates) -> Vec<Layer> {
    let behind_convolutions = Dropout::new(rates.convolution as f32);
    let behind_dense = Dropout::new(rates.dense as f32);
    vec![
        Conv2d::new(32, 3).into(),
        BatchNorm::default().into(),
        Relu {}.into(),
        Conv2d::new(32, 3).into(),
        Relu {}.into(),
        MaxPool2d::new(2).into(),
        behind_convolutions.into(),
        Conv2d::new(64, 3).into(),
        BatchNorm::default().into(),
        Relu {}.into(),
        Conv2d::new(64, 3).into(),
        Relu {}.into(),
        MaxPool2d::new(2).into(),
        behind_convolutions.into(),
        Conv2d::new(128, 3).into(),
        BatchNorm::default().into(),
        behind_convolutions.into(),
        Flatten {}.into(),
        Dense::new(512).into(),
        BatchNorm::default().into(),
        Relu {}.into(),
        behind_dense.into(),
        Dense::new(256).into(),
        Relu {}.into(),
        behind_dense.into(),
        Dense::new(classes).into(),
    ]
}
