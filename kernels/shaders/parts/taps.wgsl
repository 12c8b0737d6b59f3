// A left operand whose rows are pixels and whose terms are (tap, channel). The module says what
// they are: ROW_HEIGHT and ROW_WIDTH of the rows' images, TAP_CHANNELS, and where the pixel begins
// that a row meets at a tap, `tap_start`.

fn left_vector(row: u32, k: u32) -> vec4f {
    var numbers = vec4f();
    if row >= ROWS || k >= DEPTH {
        return numbers;
    }
    let place = pixel_place(row, ROW_HEIGHT, ROW_WIDTH);
    if LEFT_VECTORS {
        let start = tap_start(place, tap_place(k / TAP_CHANNELS));
        if start != OUTSIDE {
            numbers = left_four(start + k % TAP_CHANNELS);
        }
        return numbers;
    }
    for (var j = 0u; j < 4u; j++) {
        let term = k + j;
        let start = tap_start(place, tap_place(term / TAP_CHANNELS));
        if term < DEPTH && start != OUTSIDE {
            numbers[j] = left_number(start + term % TAP_CHANNELS);
        }
    }
    return numbers;
}
