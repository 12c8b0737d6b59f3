// The update by SGD with Nesterov's momentum: one pass over gradients, values and velocities.

override LEN: u32;
override DECAYING: u32;
override MOMENTUM: f32;
override WEIGHT_DECAY: f32;

struct Places { a: u32, b: u32, c: u32, d: u32, rate: f32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read> summary: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> velocities: array<f32>;

// g = weight_decay value + gradient summary[3], velocity = momentum velocity + g,
// value = value - rate (momentum velocity + g); weight_decay is 0 but for the first values. Nothing
// changes if summary[2] is 0. Velocities that would go on into the denormal numbers become 0, as
// they do on the CPU.
@compute @workgroup_size(256)
fn sgd(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if summary[at.b + 2u] == 0.0 {
        return;
    }
    let scale = summary[at.b + 3u];
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let value = values[at.c + i];
        let decay = select(0.0, WEIGHT_DECAY, i < DECAYING);
        let gradient = fma(decay, value, gradients[at.a + i] * scale);
        var velocity = fma(MOMENTUM, velocities[at.d + i], gradient);
        velocity = select(0.0, velocity, abs(velocity) > 1e-30);
        velocities[at.d + i] = velocity;
        values[at.c + i] = value - at.rate * fma(MOMENTUM, velocity, gradient);
    }
}
