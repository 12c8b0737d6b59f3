// Windows of NHWC images, without padding: [N, H, W, C] -> [N, H', W', C].

override HEIGHT: u32;
override WIDTH: u32;
override CHANNELS: u32;
override OUT_HEIGHT: u32;
override OUT_WIDTH: u32;
override WINDOW_HEIGHT: u32;
override WINDOW_WIDTH: u32;
override STRIDE: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>;

// Where in the batch the window of an output begins.
fn window_start(output: u32) -> u32 {
    let channel = output % CHANNELS;
    let pixel = output / CHANNELS;
    let column = pixel % OUT_WIDTH;
    let row = pixel / OUT_WIDTH % OUT_HEIGHT;
    let image = pixel / (OUT_WIDTH * OUT_HEIGHT);
    return ((image * HEIGHT + row * STRIDE) * WIDTH + column * STRIDE) * CHANNELS + channel;
}

// A window's maximum, and its place in the window, row by row.
struct Maximum { value: f32, place: u32 }

// The maximum of x + bias in the window that begins at x[start]. The first of equals is taken, and
// a NaN replaces what was taken before it; it is known by its bits, as a compiler may take for
// granted that there is none.
fn maximum(start: u32, bias: f32) -> Maximum {
    var best = Maximum(x[start] + bias, 0u);
    for (var row = 0u; row < WINDOW_HEIGHT; row++) {
        for (var column = 0u; column < WINDOW_WIDTH; column++) {
            let value = x[start + (row * WIDTH + column) * CHANNELS] + bias;
            let is_nan = (bitcast<u32>(value) & 0x7FFFFFFFu) > 0x7F800000u;
            if value > best.value || is_nan {
                best = Maximum(value, row * WINDOW_WIDTH + column);
            }
        }
    }
    return best;
}
