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

// w[tap, column .. column + 4, channel]; neighbouring threads have neighbouring output channels.
fn right_vector(k: u32, column: u32) -> vec4f {
    var numbers = vec4f();
    let tap = k / OUT_CHANNELS;
    for (var j = 0u; j < 4u; j++) {
        if k < DEPTH && column + j < COLUMNS {
            let row = tap * IN_CHANNELS + column + j;
            numbers[j] = right_number(row * OUT_CHANNELS + k % OUT_CHANNELS);
        }
    }
    return numbers;
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
