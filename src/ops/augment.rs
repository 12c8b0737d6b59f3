//! A batch like `gather`'s, of images that are changed on the way:
//! `x[i] = (changed(pixels[order[i]]) - offset) / divisor`. Bytes have no gradient.
//!
//! What happens to an image is a function of seed, epoch and its number in the data set, so
//! neither the batch size nor a resume changes it.

use serde::{Deserialize, Serialize};
use toile_kernels::geometry::{self, FLIP_ALTERNATING, FLIP_NONE, FLIP_RANDOM};
use toile_kernels::{Buffer, Kind, augment, gather_labels};

use super::gather::{Normalization, Resident};
use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// How training images are changed each time they are shown. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Augmentation {
    /// Which images are flipped left to right.
    pub flip: Flip,
    /// The largest move up, down, left and right, in pixels, each move as often as the others.
    /// What comes in is byte 0.
    pub shift: u32,
    /// The largest turn either way about the centre, in degrees, 0 to 180, each as often as the
    /// others. Pixels are interpolated bilinearly; outside of the image is byte 0.
    pub rotation: f64,
    /// The share of images, 0 to 1, of which a rectangle of 2 to 25 % of the area becomes random
    /// bytes: random erasing (Zhong et al., arXiv:1708.04896).
    pub erasing: f64,
}

/// Which images are flipped left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flip {
    /// None.
    #[default]
    None,
    /// Half of them, drawn anew in every epoch.
    Random,
    /// Half of them, and the other half in the next epoch, so that any two epochs show each image
    /// both ways (Jordan, arXiv:2404.00498, section 3.6).
    Alternating,
}

impl Augmentation {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Augmentation::default()
    }

    /// Why images of the shape `image`, [H, W, C], cannot be changed so, if they cannot.
    ///
    /// # Panics
    /// If `image` has not three sizes.
    #[must_use]
    pub fn fault(&self, image: Shape) -> Option<&'static str> {
        self.geometry(image).fault()
    }

    /// The geometry of no images.
    #[track_caller]
    fn geometry(&self, image: Shape) -> geometry::Augment {
        let [height, width, channels] = image.expect("augment", "images [H, W, C]");
        geometry::Augment {
            images: 0,
            available: 0,
            height: size(height),
            width: size(width),
            channels: size(channels),
            seed_low: 0,
            seed_high: 0,
            epoch: 0,
            flip: match self.flip {
                Flip::None => FLIP_NONE,
                Flip::Random => FLIP_RANDOM,
                Flip::Alternating => FLIP_ALTERNATING,
            },
            shift: self.shift,
            rotation: self.rotation as f32,
            erasing: self.erasing as f32,
            offset: 0.0,
            divisor: 1.0,
        }
    }
}

impl Resident {
    /// The images that `order` (u32) names, changed and as numbers, and their labels. Where
    /// `augmentation` changes nothing, the numbers are those of [`Resident::batch`].
    ///
    /// # Panics
    /// If `order` names an image that is not there, or [`Augmentation::fault`] finds one.
    #[must_use]
    #[track_caller]
    pub fn augmented_batch(
        &self,
        order: &Buffer,
        normalization: Normalization,
        augmentation: &Augmentation,
        seed: u64,
        epoch: u32,
    ) -> (Tensor, Buffer) {
        if augmentation.is_none() {
            return self.batch(order, normalization);
        }
        let g = geometry::Augment {
            images: size(order.len()),
            available: size(self.labels.len()),
            seed_low: seed as u32,
            seed_high: (seed >> 32) as u32,
            epoch,
            offset: normalization.offset,
            divisor: normalization.divisor,
            ..augmentation.geometry(self.image)
        };
        if let Some(fault) = g.fault() {
            panic!("augment: {fault}: {augmentation:?} of images {}", self.image);
        }
        let device = self.pixels.device();
        let mut x = Buffer::unspecified(device, Kind::Real, order.len() * self.image.len());
        let mut labels = Buffer::unspecified(device, Kind::Byte, order.len());
        augment(&g, &self.pixels, order, &mut x);
        gather_labels(&g.gather(), &self.labels, order, &mut labels);
        (Tensor::from_buffer(self.image.batch(order.len()), x), labels)
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let image = Shape::new(&[draw.size(), draw.size(), draw.size()]);
    let pixels: Vec<u8> = (0..image.len()).map(|_| draw.between(0, 255) as u8).collect();
    let augmentation =
        Augmentation { flip: Flip::Random, rotation: 15.0, erasing: 0.5, ..Default::default() };
    vec![Case {
        name: format!("augment an image {image}"),
        inputs: vec![],
        function: Box::new(move |_| {
            let device = toile_kernels::Device::Reference;
            let resident = Resident {
                pixels: Buffer::from_slice(device, &pixels),
                labels: Buffer::from_slice(device, &[0u8]),
                image,
            };
            let order = Buffer::from_slice(device, &[0u32]);
            resident.augmented_batch(&order, Normalization::default(), &augmentation, 1, 0).0
        }),
    }]
}
