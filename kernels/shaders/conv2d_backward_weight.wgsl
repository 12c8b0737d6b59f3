// dw from x and dy: rows are (tap, input channel), terms output pixels of all images, columns
// output channels.

// Four pixels' numbers at one tap and channel; neighbouring threads have neighbouring channels.
fn left_vector(row: u32, k: u32) -> vec4f {
    var numbers = vec4f();
    let tap = tap_place(row / IN_CHANNELS);
    for (var j = 0u; j < 4u; j++) {
        let start = input_start(pixel_place(k + j, OUT_HEIGHT, OUT_WIDTH), tap);
        if row < ROWS && k + j < DEPTH && start != OUTSIDE {
            numbers[j] = left_number(start + row % IN_CHANNELS);
        }
    }
    return numbers;
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_row_vector(k, column);
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
