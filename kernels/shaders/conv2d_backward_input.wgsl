// dx from dy and w: rows are input pixels, terms (tap, output channel), columns input channels.
// Each input number gathers what its output pixels send back, so that nothing is added atomically.

override ROW_HEIGHT: u32 = HEIGHT;
override ROW_WIDTH: u32 = WIDTH;
override TAP_CHANNELS: u32 = OUT_CHANNELS;

// Where the output pixel begins that met an input pixel at a tap; OUTSIDE if there is none.
fn tap_start(input: vec3u, tap: vec2u) -> u32 {
    let y = input.y + PADDING;
    let x = input.z + PADDING;
    if y < tap.x || x < tap.y || (y - tap.x) % STRIDE != 0u || (x - tap.y) % STRIDE != 0u {
        return OUTSIDE;
    }
    let row = (y - tap.x) / STRIDE;
    let column = (x - tap.y) / STRIDE;
    if row >= OUT_HEIGHT || column >= OUT_WIDTH {
        return OUTSIDE;
    }
    return ((input.x * OUT_HEIGHT + row) * OUT_WIDTH + column) * OUT_CHANNELS;
}

// w[tap, column, channel .. channel + 4]
fn right_vector(k: u32, column: u32) -> vec4f {
    if k >= DEPTH || column >= COLUMNS {
        return vec4f();
    }
    if RIGHT_VECTORS {
        return right_four(weight_place(k, column));
    }
    return vec4f(
        weight(k, column),
        weight(k + 1u, column),
        weight(k + 2u, column),
        weight(k + 3u, column),
    );
}

fn weight(k: u32, column: u32) -> f32 {
    if k >= DEPTH {
        return 0.0;
    }
    return right_number(weight_place(k, column));
}

// Where the weight is that a term and an input channel share.
fn weight_place(k: u32, column: u32) -> u32 {
    return (k / OUT_CHANNELS * IN_CHANNELS + column) * OUT_CHANNELS + k % OUT_CHANNELS;
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
