// A left operand whose rows are pixels and whose terms are (tap, channel). The module says what
// they are: ROW_HEIGHT and ROW_WIDTH of the rows' images, TAP_CHANNELS, and where the pixel begins
// that a row meets at a tap, `tap_start`.

fn left_vector(row: u32, k: u32) -> vec4f {
    if row >= ROWS || k >= DEPTH {
        return vec4f();
    }
    let place = pixel_place(row, ROW_HEIGHT, ROW_WIDTH);
    if LEFT_VECTORS {
        let start = tap_start(place, tap_place(k / TAP_CHANNELS));
        if start == OUTSIDE {
            return vec4f();
        }
        return left_four(start + k % TAP_CHANNELS);
    }
    return vec4f(term(place, k), term(place, k + 1u), term(place, k + 2u), term(place, k + 3u));
}

// A single number, 0 outside of the image and behind the last term.
fn term(place: vec3u, k: u32) -> f32 {
    let start = tap_start(place, tap_place(k / TAP_CHANNELS));
    if k >= DEPTH || start == OUTSIDE {
        return 0.0;
    }
    return left_number(start + k % TAP_CHANNELS);
}
