// y = x ⋆ w (+ bias): rows are output pixels, terms (tap, input channel), columns output channels.

override HAS_BIAS: bool;

@group(0) @binding(3) var<storage, read> bias: array<f32>;

fn left_vector(row: u32, k: u32) -> vec4f {
    var numbers = vec4f();
    if row >= ROWS || k >= DEPTH {
        return numbers;
    }
    let output = pixel_place(row, OUT_HEIGHT, OUT_WIDTH);
    if LEFT_VECTORS {
        let start = input_start(output, tap_place(k / IN_CHANNELS));
        if start != OUTSIDE {
            numbers = left_four(start + k % IN_CHANNELS);
        }
        return numbers;
    }
    for (var j = 0u; j < 4u; j++) {
        let term = k + j;
        let start = input_start(output, tap_place(term / IN_CHANNELS));
        if term < DEPTH && start != OUTSIDE {
            numbers[j] = left_number(start + term % IN_CHANNELS);
        }
    }
    return numbers;
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_row_vector(k, column);
}

fn finished(sum: f32, column: u32) -> f32 {
    if HAS_BIAS {
        return sum + bias[at.bias + column];
    }
    return sum;
}
