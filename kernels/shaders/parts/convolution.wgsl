// The sizes of a convolution: NHWC images, HWIO weights.

override HEIGHT: u32;
override WIDTH: u32;
override IN_CHANNELS: u32;
override OUT_HEIGHT: u32;
override OUT_WIDTH: u32;
override OUT_CHANNELS: u32;
override KERNEL_WIDTH: u32;
override STRIDE: u32;
override PADDING: u32;

// A pixel of a batch: image, row, column.
fn pixel_place(pixel: u32, height: u32, width: u32) -> vec3u {
    return vec3u(pixel / (height * width), pixel / width % height, pixel % width);
}

// A tap of the kernel: row, column.
fn tap_place(tap: u32) -> vec2u {
    return vec2u(tap / KERNEL_WIDTH, tap % KERNEL_WIDTH);
}

const OUTSIDE: u32 = 0xFFFFFFFFu;

// Where the input pixel begins that an output pixel meets at a tap; OUTSIDE in the padding.
fn input_start(output: vec3u, tap: vec2u) -> u32 {
    let y = output.y * STRIDE + tap.x;
    let x = output.z * STRIDE + tap.y;
    if y < PADDING || x < PADDING || y >= HEIGHT + PADDING || x >= WIDTH + PADDING {
        return OUTSIDE;
    }
    return ((output.x * HEIGHT + y - PADDING) * WIDTH + x - PADDING) * IN_CHANNELS;
}
