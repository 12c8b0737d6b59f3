// Picking a batch out of a resident data set. An entry of the order that names no image cannot be
// refused here: it picks the last one.

override AVAILABLE: u32;
// Picked images, and bytes of one.
override IMAGES: u32;
override IMAGE_LEN: u32 = 1;
override OFFSET: f32 = 0.0;
override DIVISOR: f32 = 1.0;

struct Places { a: u32, b: u32, c: u32 }
var<immediate> at: Places;

// Bytes: [AVAILABLE, IMAGE_LEN], or [AVAILABLE] labels.
@group(0) @binding(0) var<storage, read> bytes: array<u32>;
// [IMAGES]
@group(0) @binding(1) var<storage, read> order: array<u32>;

fn byte(i: u32) -> u32 {
    return (bytes[i / 4u] >> (8u * (i % 4u))) & 0xFFu;
}

fn picked_image(i: u32) -> u32 {
    return min(order[at.b + i], AVAILABLE - 1u);
}

@group(0) @binding(2) var<storage, read_write> x: array<f32>;

// x[i] = (pixels[order[i]] - offset) / divisor; a thread has a number, so that neighbours write
// neighbouring numbers.
@compute @workgroup_size(256)
fn gather(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < IMAGES * IMAGE_LEN; i += 256u * groups.x) {
        let image = picked_image(i / IMAGE_LEN);
        let pixel = byte(at.a + image * IMAGE_LEN + i % IMAGE_LEN);
        x[at.c + i] = (f32(pixel) - OFFSET) / DIVISOR;
    }
}

// [IMAGES], bytes.
@group(0) @binding(2) var<storage, read_write> picked: array<u32>;

// picked[i] = labels[order[i]]; a thread has the four bytes of a word.
@compute @workgroup_size(256)
fn gather_labels(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = 4u * id.x; i < IMAGES; i += 1024u * groups.x) {
        var word = 0u;
        for (var j = 0u; j < min(4u, IMAGES - i); j++) {
            word |= byte(at.a + picked_image(i + j)) << (8u * j);
        }
        picked[(at.c + i) / 4u] = word;
    }
}
