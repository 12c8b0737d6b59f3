// Max-pooling: [N, H, W, C] -> [N, H', W', C] and back.

override LEN: u32;
// What dy is multiplied by.
override SCALE: f32;

struct Places { a: u32, b: u32, c: u32 }
var<immediate> at: Places;

@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;

// The LEN maxima and their places. A thread has the four whose codes share a word.
@compute @workgroup_size(256)
fn max_pool2d_forward(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    for (var word = id.x; word < (LEN + 3u) / 4u; word += 256u * groups.x) {
        var packed = 0u;
        for (var j = 0u; j < 4u; j++) {
            let i = 4u * word + j;
            if i < LEN {
                let best = maximum(at.a + window_start(i), 0.0);
                y[at.b + i] = best.value;
                packed |= best.place << (8u * j);
            }
        }
        codes[at.c / 4u + word] = packed;
    }
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

// The first window, of those that follow each other in one direction, that reaches a pixel.
fn first_window(pixel: u32, window: u32) -> u32 {
    return select(0u, (pixel - window) / STRIDE + 1u, pixel >= window);
}

// dx = the sum of SCALE dy over the windows whose maximum a number was, in the windows' order:
// LEN numbers, which look for the windows that they lie in. A code that is no place in the window
// gives nothing to anyone.
@compute @workgroup_size(256)
fn max_pool2d_backward(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        let channel = i % CHANNELS;
        let pixel = i / CHANNELS;
        let column = pixel % WIDTH;
        let row = pixel / WIDTH % HEIGHT;
        let image = pixel / (WIDTH * HEIGHT);
        let end_row = min(row / STRIDE + 1u, OUT_HEIGHT);
        let end_column = min(column / STRIDE + 1u, OUT_WIDTH);
        var sum = 0.0;
        for (var r = first_window(row, WINDOW_HEIGHT); r < end_row; r++) {
            for (var c = first_window(column, WINDOW_WIDTH); c < end_column; c++) {
                let output = ((image * OUT_HEIGHT + r) * OUT_WIDTH + c) * CHANNELS + channel;
                let place = (row - r * STRIDE) * WINDOW_WIDTH + column - c * STRIDE;
                let byte = at.b + output;
                let code = places[byte / 4u] >> (8u * (byte % 4u)) & 0xFFu;
                sum += select(0.0, SCALE * dy[at.a + output], code == place);
            }
        }
        dx[at.c + i] = sum;
    }
}
