// What follows a convolution: bias, ReLU, max-pooling, dropout.

override LEN: u32;
// Dropout: the least word that keeps a number, and what kept numbers are multiplied by.
override THRESHOLD: u32;
override SCALE: f32;
override SEED_LOW: u32;
override SEED_HIGH: u32;
override PURPOSE: u32;

struct Places { x: u32, bias: u32, y: u32, codes: u32, step: u32 }
var<immediate> at: Places;

@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;

// The code of a window without gradient.
const NO_GRADIENT: u32 = 255u;

// The words that decide about the numbers 4 block .. 4 block + 4.
fn dropout_words(block: u32) -> vec4u {
    if THRESHOLD == 0u {
        return vec4u();
    }
    return philox4x32(vec4u(block, 0u, at.step, PURPOSE), vec2u(SEED_LOW, SEED_HIGH));
}

// y = dropout(pool(relu(x + bias))), and of each of its LEN numbers the place of the window's
// maximum, or NO_GRADIENT where that is not above 0 or was dropped. A thread has the four numbers
// whose codes share a word, and whose words share a block. The ReLU comes last, which gives the
// same numbers.
@compute @workgroup_size(256)
fn bias_relu_pool_dropout(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    for (var block = id.x; block < (LEN + 3u) / 4u; block += 256u * groups.x) {
        let words = dropout_words(block);
        var packed = 0u;
        for (var j = 0u; j < 4u; j++) {
            let i = 4u * block + j;
            if i < LEN {
                let best = maximum(at.x + window_start(i), bias[at.bias + i % CHANNELS]);
                let is_kept = words[j] >= THRESHOLD;
                let positive = select(best.value, 0.0, best.value < 0.0);
                y[at.y + i] = select(0.0, positive * SCALE, is_kept);
                packed |= select(NO_GRADIENT, best.place, is_kept && best.value > 0.0) << (8u * j);
            }
        }
        codes[at.codes / 4u + block] = packed;
    }
}
