// Batch normalisation of each number by itself, where all that holds for its channel is known:
// [N, P, C] -> [N, P, C].

override LEN: u32;
override CHANNELS: u32;
override EPSILON: f32;
// Whether variances are given, and not 1 / sqrt(variance + EPSILON).
override GIVES_VARIANCE: bool;

struct Places { a: u32, b: u32, c: u32, d: u32, e: u32, f: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> deviation: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// y = gamma (x - mean) inverse_deviation + beta, or the ReLU of it
@compute @workgroup_size(256)
fn normalise(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let c = i % CHANNELS;
        var inverse_deviation = deviation[at.e + c];
        if GIVES_VARIANCE {
            inverse_deviation = 1.0 / sqrt(inverse_deviation + EPSILON);
        }
        let scale = gamma[at.b + c] * inverse_deviation;
        let normal = normalised(x[at.a + i], mean[at.d + c], scale, beta[at.c + c]);
        y[at.f + i] = after_relu(normal);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> factors: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// dx = scale (dn - mean_dn - xhat mean_dn_xhat), where dn is the gradient of the normalised number
// and the factors, [6, C], are as `finish_gradients` leaves them.
@compute @workgroup_size(256)
fn input_gradient(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let place = at.c + i % CHANNELS;
        let mean = factors[place];
        let inverse_deviation = factors[place + CHANNELS];
        let scale = factors[place + 2u * CHANNELS];
        let beta = factors[place + 3u * CHANNELS];
        let mean_dn = factors[place + 4u * CHANNELS];
        let mean_dn_xhat = factors[place + 5u * CHANNELS];

        let number = x[at.a + i];
        let dn = before_relu(dy[at.b + i], normalised(number, mean, scale, beta));
        let xhat = (number - mean) * inverse_deviation;
        dx[at.d + i] = scale * fma(-xhat, mean_dn_xhat, dn - mean_dn);
    }
}
