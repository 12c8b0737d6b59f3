// y = x ⋆ w (+ bias): rows are output pixels, terms (tap, input channel), columns output channels.

override HAS_BIAS: bool;

@group(0) @binding(3) var<storage, read> bias: array<f32>;

override ROW_HEIGHT: u32 = OUT_HEIGHT;
override ROW_WIDTH: u32 = OUT_WIDTH;
override TAP_CHANNELS: u32 = IN_CHANNELS;

fn tap_start(output: vec3u, tap: vec2u) -> u32 {
    return input_start(output, tap);
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_from_matrix(k, column, DEPTH, COLUMNS);
}

fn finished(sum: f32, column: u32) -> f32 {
    if HAS_BIAS {
        return sum + bias[at.bias + column];
    }
    return sum;
}
