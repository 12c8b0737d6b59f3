//! What happens after a device has failed. Each failure has a process of its own, since it is for
//! good.
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

/// On a device that is a program, whose memory is that of the process.
#[cfg(unix)]
#[test]
fn memory_that_is_used_up() {
    if !gpu::is_there() || !gpu::open().is_ok_and(|opened| opened.is_software) {
        return;
    }
    let this = std::env::current_exe().expect("the path of a running program");
    let script =
        "ulimit -v 4194304 && exec \"$0\" --ignored --exact take_memory_until_none_is_left";
    let child =
        std::process::Command::new("sh").args(["-c", script]).arg(this).output().expect("a shell");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "takes all the memory that it may: memory_that_is_used_up runs it within 4 GiB"]
fn take_memory_until_none_is_left() {
    gpu::open().expect("the parent process found it");
    let mut taken = Vec::new();
    while fault().is_none() && taken.len() < 128 {
        taken.push(Buffer::unspecified(Device::Gpu, Kind::Real, 1 << 24));
    }
    let said = fault().expect("128 times 64 MiB are more than 4 GiB");
    assert!(said.contains("no memory left"), "{said}");
    let sum = taken.pop().expect("it took some");
    assert!(sum.slice(0..2).to_vec::<f32>().iter().all(|number| number.is_nan()));
}
