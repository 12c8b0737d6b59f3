//! The same calls on the graphics card, or on a program that acts as one.

use toile_kernels::gpu;
use toile_kernels::{Buffer, Device};

use super::{Call, Fill, Promise, Random, Tolerance, assert_same, bits, check_result, scale, wide};

/// Random shapes that each kernel is called with. Each is compiled for itself, which takes a
/// software device longer than the call.
const SHAPES: u32 = 12;

/// How near a shader comes at least: WGSL lets a device round quotients, roots and exponential
/// functions by some units of the last place.
const LEAST_TOLERANCE: f64 = 1e-5;

/// Compares a kernel with the reference, and a second call with the first, bit for bit.
pub fn check(kernel: &str, promise: &Promise, make: impl Fn(&mut Random, Fill) -> Call) {
    if !gpu::is_there() {
        return;
    }
    for shape in 0..SHAPES {
        for fill in [Fill::Integers, Fill::Floats] {
            let call = make(&mut Random::new(kernel, shape), fill);
            let about = format!("{kernel}, shape {shape}, {fill:?}, {}, GPU", call.geometry);
            check_call(&about, promise, call, fill);
        }
    }
}

fn check_call(about: &str, promise: &Promise, mut call: Call, fill: Fill) {
    let truth: Vec<_> = call.run(Device::Reference).iter().map(wide).collect();
    let result: Vec<Buffer> = call.run(Device::Gpu);
    assert_eq!(gpu::fault(), None, "{about}");
    assert_same(&bits(&call.run(Device::Gpu)), &bits(&result), &format!("{about}, called again"));
    let tolerance = match promise.tolerance {
        _ if promise.exact && fill == Fill::Integers => Tolerance::Value(0.0),
        Tolerance::Value(share) => Tolerance::Value(share.max(LEAST_TOLERANCE)),
        terms => terms,
    };
    let scale = scale(&mut call, tolerance, &truth);
    check_result(about, promise, tolerance, &result, &truth, &scale);
}
