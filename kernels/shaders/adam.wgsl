// The update by Adam: one pass over gradients, values and both moments.

override LEN: u32;
override DECAYING: u32;
// 1 - beta1 and 1 - beta2.
override SHARE1: f32;
override SHARE2: f32;
override EPSILON: f32;

struct Places { a: u32, b: u32, c: u32, d: u32, e: u32, rate: f32, decay: f32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read> summary: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> first_moment: array<f32>;
@group(0) @binding(4) var<storage, read_write> second_moment: array<f32>;

// m = (g - m) (1 - beta1) + m, v = (g g - v) (1 - beta2) + v,
// value = (value - decay value) - (rate m) / (sqrt(v) + epsilon), where g is the gradient times
// summary[3]; decay is 0 but for the first values. Nothing changes if summary[2] is 0. Moments that
// would go on into the denormal numbers become 0, as they do on the CPU.
@compute @workgroup_size(256)
fn adam(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if summary[at.b + 2u] == 0.0 {
        return;
    }
    let scale = summary[at.b + 3u];
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let gradient = gradients[at.a + i] * scale;
        var m = first_moment[at.d + i];
        var v = second_moment[at.e + i];
        m = fma(gradient - m, SHARE1, m);
        v = fma(gradient * gradient - v, SHARE2, v);
        m = select(0.0, m, abs(m) > 1e-30);
        v = select(0.0, v, v > 1e-36);
        first_moment[at.d + i] = m;
        second_moment[at.e + i] = v;
        let value = values[at.c + i];
        let step = at.rate * m / (sqrt(v) + EPSILON);
        let decay = select(0.0, at.decay, i < DECAYING);
        values[at.c + i] = (value - decay * value) - step;
    }
}
