// Philox4x32-10, the words of `kernels/src/rng.rs` bit for bit (Salmon, Moraes, Dror, Shaw, 2011).

// The upper half of the 64-bit product, by halves of 16 bits: WGSL has no wider integers.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xFFFFu;
    let a_high = a >> 16u;
    let b_low = b & 0xFFFFu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let other = a_low * b_high + (middle & 0xFFFFu);
    return a_high * b_high + (middle >> 16u) + (other >> 16u);
}

fn philox4x32(start: vec4u, start_key: vec2u) -> vec4u {
    var counter = start;
    var key = start_key;
    for (var round = 0u; round < 10u; round++) {
        let high0 = multiply_high(0xD2511F53u, counter.x);
        let low0 = 0xD2511F53u * counter.x;
        let high1 = multiply_high(0xCD9E8D57u, counter.z);
        let low1 = 0xCD9E8D57u * counter.z;
        counter = vec4u(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}
