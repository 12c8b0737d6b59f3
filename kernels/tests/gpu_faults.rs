//! What happens after a device has failed. A process of its own, since it fails for good.
#![cfg(feature = "gpu")]

use toile_kernels::geometry::Elements;
use toile_kernels::{Buffer, Device, Kind, add_assign, fault, gpu};

/// Nothing panics, what is read is no number, and the first cause is kept.
#[test]
fn a_buffer_larger_than_the_device_takes() {
    if !gpu::is_there() {
        return;
    }
    let x = Buffer::from_slice(Device::Gpu, &[1.0f32, 2.0]);
    let mut sum = Buffer::from_slice(Device::Gpu, &[3.0f32, 4.0]);
    add_assign(&Elements { len: 2 }, &x, &mut sum);
    assert_eq!(sum.to_vec::<f32>(), [4.0, 6.0]);
    assert_eq!(fault(), None);

    // 64 GiB: more than a binding may have anywhere.
    drop(Buffer::unspecified(Device::Gpu, Kind::Real, 1 << 34));
    let said = fault().expect("such a buffer is a fault");
    assert!(said.contains("68719476736 bytes") && said.contains("smaller batches"), "{said}");

    add_assign(&Elements { len: 2 }, &x, &mut sum);
    assert!(sum.to_vec::<f32>().iter().all(|number| number.is_nan()));
    assert_eq!(fault(), Some(said));
}
