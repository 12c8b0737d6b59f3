//! Targets for [`Tensor::soft_cross_entropy`] from labels:
//! `(1 - smoothing) onehot(label) + smoothing / K`, and those of mixed images mixed alike;
//! N labels -> [N, K]. Labels have no gradient.

use toile_kernels::geometry;
use toile_kernels::{Buffer, Kind, targets};

use crate::gradcheck::{Case, Draw};
use crate::shape::{Shape, size};
use crate::tensor::Tensor;

/// The targets of a batch, [N, K], whose rows add up to 1: label smoothing (Szegedy et al.,
/// arXiv:1512.00567, section 7). With the `shares` of [`Tensor::mixed`], image i's row is
/// shares\[i\] of its own and the rest of its partner's, image N - 1 - i's.
///
/// # Panics
/// If a label is not below `classes`, which are 1 to 256, `smoothing` is not at least 0 and below
/// 1, or there are more or fewer shares than labels.
#[must_use]
#[track_caller]
pub fn soft_targets(
    labels: &Buffer,
    classes: usize,
    smoothing: f32,
    shares: Option<&Buffer>,
) -> Buffer {
    let g = geometry::Targets {
        images: size(labels.len()),
        classes: size(classes),
        mixed: u32::from(shares.is_some()),
        smoothing,
    };
    if let Some(fault) = g.fault() {
        panic!("targets: {fault}: {classes} classes, smoothing {smoothing}");
    }
    let device = labels.device();
    let mut rows = Buffer::unspecified(device, Kind::Real, g.len());
    let none = Buffer::zeros(device, 0);
    targets(&g, labels, shares.unwrap_or(&none), &mut rows);
    rows
}

pub(super) fn cases(draw: &mut Draw) -> Vec<Case> {
    let [n, k] = [draw.size(), draw.size()];
    let labels: Vec<u8> = (0..n).map(|_| draw.between(0, k - 1) as u8).collect();
    vec![Case {
        name: format!("targets of {n} images, {k} classes"),
        inputs: vec![],
        function: Box::new(move |_| {
            let labels = Buffer::from_slice(toile_kernels::Device::Reference, &labels);
            Tensor::from_buffer(Shape::new(&[n, k]), soft_targets(&labels, k, 0.1, None))
        }),
    }]
}
