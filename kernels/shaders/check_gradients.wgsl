// The look at all gradients before an update: partial results of PARTS workgroups, then one
// workgroup that merges them.

override LEN: u32;
// At most 256: the second workgroup has a thread for each.
override PARTS: u32;
// 0 for no limit.
override LARGEST_NORM: f32;

struct Places { a: u32, b: u32 }
var<immediate> at: Places;

// x: how many numbers are not below 2^63 in magnitude. y and z: sums of squares of numbers from 1
// on, times 2^-32, and of smaller ones, times 2^32: in f32 the squares of the numbers themselves
// and their sum would be infinite, or 0, where the norm is neither.
var<workgroup> sums: array<vec3f, 256>;

// The sum of what the threads have, in a tree.
fn sum_of_all(thread: u32, value: vec3f) -> vec3f {
    sums[thread] = value;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if thread < width {
            sums[thread] += sums[thread + width];
        }
    }
    workgroupBarrier();
    return sums[0];
}

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
// [PARTS, 3]
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;

fn magnitude_bits(x: f32) -> u32 {
    return bitcast<u32>(x) & 0x7FFFFFFFu;
}

@compute @workgroup_size(256)
fn look(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3u) {
    var sum = vec3f(0.0);
    for (var i = 256u * group.x + thread; i < LEN; i += 256u * PARTS) {
        let x = gradients[at.a + i];
        if magnitude_bits(x) >= 0x5F000000u {
            sum.x += 1.0;
        } else if abs(x) >= 1.0 {
            let scaled = x * 0x1p-32f;
            sum.y = fma(scaled, scaled, sum.y);
        } else {
            let scaled = x * 0x1p+32f;
            sum.z = fma(scaled, scaled, sum.z);
        }
    }
    sum = sum_of_all(thread, sum);
    if thread < 3u {
        parts[at.b + 3u * group.x + thread] = sum[thread];
    }
}

@group(0) @binding(0) var<storage, read> all_parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> summary: array<f32>;

// summary[2] = 1 if the loss summary[0] is finite and all gradients can be used, else 0;
// summary[3] = what brings the norm down to the largest one, at most 1.
@compute @workgroup_size(256)
fn conclude(@builtin(local_invocation_index) thread: u32) {
    var part = vec3f(0.0);
    if thread < PARTS {
        let first = at.a + 3u * thread;
        part = vec3f(all_parts[first], all_parts[first + 1u], all_parts[first + 2u]);
    }
    let sum = sum_of_all(thread, part);
    if thread == 0u {
        let usable = magnitude_bits(summary[at.b]) < 0x7F800000u && sum.x == 0.0;
        // sqrt(y 2^64 + z 2^-64), with nothing on the way that f32 does not have.
        var norm = sqrt(sum.z) * 0x1p-32f;
        if sum.y > 0.0 {
            let rest = sqrt(sum.z) * 0x1p-64f;
            norm = sqrt(fma(rest, rest, sum.y)) * 0x1p+32f;
        }
        let limited = LARGEST_NORM > 0.0 && usable && norm > LARGEST_NORM;
        summary[at.b + 2u] = select(0.0, 1.0, usable);
        summary[at.b + 3u] = select(1.0, LARGEST_NORM / norm, limited);
    }
}
