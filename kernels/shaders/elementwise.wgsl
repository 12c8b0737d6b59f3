// Kernels that treat each number by itself. A thread goes on by the number of all threads, since
// a device takes no more than 65,535 workgroups.

override LEN: u32;
override CHANNELS: u32 = 1;
// Dropout: the least word that keeps a number, and what kept numbers are multiplied by.
override THRESHOLD: u32 = 0;
override SCALE: f32 = 1.0;
override SEED_LOW: u32 = 0;
override SEED_HIGH: u32 = 0;
override PURPOSE: u32 = 0;

struct Places { a: u32, b: u32, c: u32, d: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read_write> filled: array<f32>;

@compute @workgroup_size(256)
fn fill(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        filled[at.a + i] = bitcast<f32>(at.b);
    }
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

// y = max(x, 0); a comparison, so that NaN stays NaN.
@compute @workgroup_size(256)
fn relu_forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let value = x[at.a + i];
        y[at.b + i] = select(value, 0.0, value < 0.0);
    }
}

@compute @workgroup_size(256)
fn add_assign(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        y[at.b + i] += x[at.a + i];
    }
}

// y += (x - y) share
@compute @workgroup_size(256)
fn move_towards(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let share = bitcast<f32>(at.c);
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let old = y[at.b + i];
        y[at.b + i] = fma(x[at.a + i] - old, share, old);
    }
}

// A thread has the four numbers that one block of random words decides.
@compute @workgroup_size(256)
fn dropout(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let blocks = (LEN + 3u) / 4u;
    for (var block = id.x; block < blocks; block += 256u * groups.x) {
        let words = philox4x32(vec4u(block, 0u, at.c, PURPOSE), vec2u(SEED_LOW, SEED_HIGH));
        for (var j = 0u; j < 4u; j++) {
            let i = 4u * block + j;
            if i < LEN {
                y[at.b + i] = select(0.0, x[at.a + i] * SCALE, words[j] >= THRESHOLD);
            }
        }
    }
}

@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> biased: array<f32>;

@compute @workgroup_size(256)
fn bias_forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        biased[at.c + i] = x[at.a + i] + bias[at.b + i % CHANNELS];
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;

// dx = dy where y > 0, else 0
@compute @workgroup_size(256)
fn relu_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        biased[at.c + i] = select(0.0, dy[at.b + i], x[at.a + i] > 0.0);
    }
}
