// Eight chains of multiply-adds in registers, on vectors of four: the most that a device can do.

override ROUNDS: u32;

struct Places { sums: u32, factor: f32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(256)
fn peak(@builtin(global_invocation_id) id: vec3u) {
    let factor = vec4f(at.factor);
    let term = vec4f(f32(id.x));
    var a = term;
    var b = term + 1.0;
    var c = term + 2.0;
    var d = term + 3.0;
    var e = term + 4.0;
    var f = term + 5.0;
    var g = term + 6.0;
    var h = term + 7.0;
    for (var round = 0u; round < ROUNDS; round++) {
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
    }
    let sum = (a + b) + (c + d) + ((e + f) + (g + h));
    sums[at.sums + id.x] = sum.x + sum.y + sum.z + sum.w;
}
