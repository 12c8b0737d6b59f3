//! A batch out of a data set that lives on the device as bytes:
//! `x[i] = (pixels[order[i]] - offset) / divisor`, labels likewise. Bytes have no gradient.

use toile_kernels::{Buffer, Kind, gather, gather_labels, geometry};

use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// Images and labels as bytes on a device.
#[derive(Clone)]
pub struct Resident {
    /// [images, ...] bytes
    pub pixels: Buffer,
    /// One label an image.
    pub labels: Buffer,
    /// The shape of one image.
    pub image: Shape,
}

/// How bytes become numbers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalization {
    /// Subtracted first, in steps of a byte.
    pub offset: f32,
    /// Divides the difference.
    pub divisor: f32,
}

impl Default for Normalization {
    /// Bytes to 0..=1.
    fn default() -> Self {
        Normalization { offset: 0.0, divisor: 255.0 }
    }
}

impl Normalization {
    /// Bytes like these to numbers of mean 0 and deviation 1; the deviation is taken as 1 where
    /// all are alike, or there are none.
    #[must_use]
    pub fn standard(bytes: &[u8]) -> Normalization {
        // In whole numbers, which no order of adding can change.
        let (sum, squares) = bytes.iter().fold((0u64, 0u64), |(sum, squares), &byte| {
            (sum + u64::from(byte), squares + u64::from(byte) * u64::from(byte))
        });
        let count = bytes.len().max(1) as f64;
        let mean = sum as f64 / count;
        let variance = squares as f64 / count - mean * mean;
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        Normalization { offset: mean as f32, divisor: deviation as f32 }
    }
}

impl Resident {
    /// The images that `order` (u32) names, as numbers, and their labels.
    ///
    /// # Panics
    /// If `order` names an image that is not there.
    #[must_use]
    #[track_caller]
    pub fn batch(&self, order: &Buffer, normalization: Normalization) -> (Tensor, Buffer) {
        let g = geometry::Gather {
            images: size(order.len()),
            available: size(self.labels.len()),
            image_len: size(self.image.len()),
            offset: normalization.offset,
            divisor: normalization.divisor,
        };
        let device = self.pixels.device();
        let mut x = Buffer::unspecified(device, Kind::Real, g.images() * g.image_len());
        let mut labels = Buffer::unspecified(device, Kind::Byte, g.images());
        gather(&g, &self.pixels, order, &mut x);
        gather_labels(&g, &self.labels, order, &mut labels);
        (Tensor::from_buffer(self.image.batch(order.len()), x), labels)
    }
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [available, images] = [draw.size(), draw.size()];
    let image = Shape::new(&[draw.size(), draw.size(), 1]);
    let pixels: Vec<u8> =
        (0..available * image.len()).map(|_| draw.between(0, 255) as u8).collect();
    let order: Vec<u32> = (0..images).map(|_| draw.between(0, available - 1) as u32).collect();
    vec![Case {
        name: format!("gather {images} of {available} images {image}"),
        inputs: vec![],
        function: Box::new(move |_| {
            let device = toile_kernels::Device::Reference;
            let resident = Resident {
                pixels: Buffer::from_slice(device, &pixels),
                labels: Buffer::from_slice(device, &vec![0u8; available]),
                image,
            };
            resident.batch(&Buffer::from_slice(device, &order), Normalization::default()).0
        }),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_bytes_by_hand() {
        let of = |bytes: &[u8]| {
            let Normalization { offset, divisor } = Normalization::standard(bytes);
            (offset, divisor)
        };
        assert_eq!(of(&[1, 3, 1, 3, 255, 255]), (86.333_336, 119.268_135));
        assert_eq!((of(&[7, 7, 7]), of(&[])), ((7.0, 1.0), (0.0, 1.0)));
    }
}
