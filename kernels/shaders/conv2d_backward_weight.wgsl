// dw from x and dy: rows are (tap, input channel), terms output pixels of all images, columns
// output channels.

// Four neighbouring channels of a pixel at a tap.
fn left_vector(row: u32, k: u32) -> vec4f {
    if row >= ROWS || k >= DEPTH {
        return vec4f();
    }
    let place = pixel_place(k, OUT_HEIGHT, OUT_WIDTH);
    if LEFT_VECTORS {
        let start = input_start(place, tap_place(row / IN_CHANNELS));
        if start == OUTSIDE {
            return vec4f();
        }
        return left_four(start + row % IN_CHANNELS);
    }
    return vec4f(
        channel(place, row),
        channel(place, row + 1u),
        channel(place, row + 2u),
        channel(place, row + 3u),
    );
}

// A single number, 0 outside of the image and behind the last row.
fn channel(place: vec3u, row: u32) -> f32 {
    let start = input_start(place, tap_place(row / IN_CHANNELS));
    if row >= ROWS || start == OUTSIDE {
        return 0.0;
    }
    return left_number(start + row % IN_CHANNELS);
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_from_matrix(k, column, DEPTH, COLUMNS);
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
