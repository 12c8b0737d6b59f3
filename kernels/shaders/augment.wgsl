// Picking a batch out of a resident data set and changing it on the way. What happens to each image
// of the data set in the epoch comes in a table. An entry of the order that names no image picks
// the last one.

override AVAILABLE: u32;
override IMAGES: u32;
override HEIGHT: u32;
override WIDTH: u32;
override CHANNELS: u32;
override OFFSET: f32;
override DIVISOR: f32;
// Of the random bytes that fill what is erased.
override SEED_LOW: u32;
override SEED_HIGH: u32;
override PURPOSE: u32;

struct Change {
    flipped: u32,
    // In pixels.
    down: i32,
    right: i32,
    // In 1 / 65536.
    sine: i32,
    cosine: i32,
    // The rectangle that is erased; it may be empty.
    top: u32,
    left: u32,
    height: u32,
    width: u32,
    // The first block of the random bytes that fill it.
    noise: u32,
}

struct Places { a: u32, b: u32, c: u32, d: u32, epoch: u32 }
var<immediate> at: Places;

// Bytes: [AVAILABLE, HEIGHT, WIDTH, CHANNELS].
@group(0) @binding(0) var<storage, read> pixels: array<u32>;
// [IMAGES]
@group(0) @binding(1) var<storage, read> order: array<u32>;
// [AVAILABLE], a block of its own.
@group(0) @binding(2) var<storage, read> changes: array<Change>;
// [IMAGES, HEIGHT, WIDTH, CHANNELS]
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

// A byte of the image, flipped if it is to be; 0 outside of it.
fn pixel(image: u32, flipped: bool, row: i32, column: i32, channel: u32) -> u32 {
    if row < 0 || row >= i32(HEIGHT) || column < 0 || column >= i32(WIDTH) {
        return 0u;
    }
    let unflipped = select(u32(column), WIDTH - 1u - u32(column), flipped);
    let i = at.a + ((image * HEIGHT + u32(row)) * WIDTH + unflipped) * CHANNELS + channel;
    return (pixels[i / 4u] >> (8u * (i % 4u))) & 0xFFu;
}

// What the image, turned and moved, shows at a pixel, in 1 / 65536: the mean of four pixels of it,
// weighted by nearness. All is in whole numbers, as on the CPU.
fn sample(image: u32, row: i32, column: i32, channel: u32) -> u32 {
    let change = changes[image];
    // Twice the distance from the centre, which lies between pixels at times; so places are in
    // 1 / 131072 pixel, and a half of what is cut off below rounds them.
    let y = 2 * (row - change.down) - i32(HEIGHT - 1u);
    let x = 2 * (column - change.right) - i32(WIDTH - 1u);
    let place_down = 65536 * i32(HEIGHT - 1u) + change.cosine * y - change.sine * x + 256;
    let place_right = 65536 * i32(WIDTH - 1u) + change.cosine * x + change.sine * y + 256;
    // From here on in 1 / 256 pixel; all places outside of the image are alike.
    let rows = clamp(place_down >> 9u, -256, 256 * i32(HEIGHT));
    let columns = clamp(place_right >> 9u, -256, 256 * i32(WIDTH));
    let flipped = change.flipped == 1u;
    let top = rows >> 8u;
    let left = columns >> 8u;
    let down = u32(rows & 255);
    let right = u32(columns & 255);
    let above = pixel(image, flipped, top, left, channel) * (256u - right)
        + pixel(image, flipped, top, left + 1, channel) * right;
    let below = pixel(image, flipped, top + 1, left, channel) * (256u - right)
        + pixel(image, flipped, top + 1, left + 1, channel) * right;
    return above * (256u - down) + below * down;
}

// The byte at this place of what fills the rectangle.
fn noise(first_block: u32, place: u32) -> u32 {
    let counter = vec4u(first_block + place / 16u, 0u, at.epoch, PURPOSE);
    let words = philox4x32(counter, vec2u(SEED_LOW, SEED_HIGH));
    return (words[place / 4u % 4u] >> (8u * (place % 4u))) & 0xFFu;
}

// x[i] = (changed(pixels[order[i]]) - offset) / divisor; a thread has a number, so that neighbours
// write neighbouring numbers.
@compute @workgroup_size(256)
fn augment(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let len = HEIGHT * WIDTH * CHANNELS;
    for (var i = id.x; i < IMAGES * len; i += 256u * groups.x) {
        let image = min(order[at.b + i / len], AVAILABLE - 1u);
        let channel = i % CHANNELS;
        let column = i / CHANNELS % WIDTH;
        let row = i % len / CHANNELS / WIDTH;
        // Above or left of the rectangle these are huge.
        let inner_row = row - changes[image].top;
        let inner_column = column - changes[image].left;
        let width = changes[image].width;
        var value = 0.0;
        if inner_row < changes[image].height && inner_column < width {
            let place = (inner_row * width + inner_column) * CHANNELS + channel;
            value = f32(noise(changes[image].noise, place));
        } else {
            value = f32(sample(image, i32(row), i32(column), channel)) * 0x1p-16f;
        }
        x[at.d + i] = (value - OFFSET) / DIVISOR;
    }
}
