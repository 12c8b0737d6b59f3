// Mixing the images of a batch with their partners. How each is mixed comes in a table.

override IMAGES: u32;
override HEIGHT: u32;
override WIDTH: u32;
override CHANNELS: u32;

struct Mixture {
    // The image's share of the whole.
    share: f32,
    // 1 if a rectangle comes from the partner, 0 if every pixel is a weighted mean.
    pasted: u32,
    top: u32,
    left: u32,
    height: u32,
    width: u32,
}

// `first`: the first image's row in the table.
struct Places { a: u32, b: u32, c: u32, d: u32, first: u32 }
var<immediate> at: Places;

// [IMAGES, HEIGHT, WIDTH, CHANNELS]
@group(0) @binding(0) var<storage, read> x: array<f32>;
// A block of its own.
@group(0) @binding(1) var<storage, read> mixtures: array<Mixture>;
// [IMAGES, HEIGHT, WIDTH, CHANNELS]
@group(0) @binding(2) var<storage, read_write> mixed: array<f32>;
// [IMAGES]
@group(0) @binding(3) var<storage, read_write> shares: array<f32>;

// mixed[i] = share x[i] + (1 - share) x[N - 1 - i], or x[i] with a rectangle of x[N - 1 - i];
// shares[i] = the share of x[i], which the thread of the image's first number stores.
@compute @workgroup_size(256)
fn mix_images(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let len = HEIGHT * WIDTH * CHANNELS;
    for (var i = id.x; i < IMAGES * len; i += 256u * groups.x) {
        let image = i / len;
        let j = i % len;
        let mixture = mixtures[at.first + image];
        let own = x[at.a + i];
        let other = x[at.a + (IMAGES - 1u - image) * len + j];
        var value = own;
        if mixture.pasted == 0u {
            value = mixture.share * own + (1.0 - mixture.share) * other;
        } else {
            // Above or left of the rectangle these are huge.
            let inner_row = j / CHANNELS / WIDTH - mixture.top;
            let inner_column = j / CHANNELS % WIDTH - mixture.left;
            if inner_row < mixture.height && inner_column < mixture.width {
                value = other;
            }
        }
        mixed[at.c + i] = value;
        if j == 0u {
            shares[at.d + image] = mixture.share;
        }
    }
}
