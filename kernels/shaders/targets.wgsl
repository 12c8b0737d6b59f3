// Targets from labels. A label that is none of the classes has no target of its own.

override IMAGES: u32;
override CLASSES: u32;
// 1 if the targets of partners are mixed, else 0.
override MIXED: u32;
// The target of the label's class, and of every other.
override OWN: f32;
override OTHER: f32;

struct Places { a: u32, b: u32, c: u32 }
var<immediate> at: Places;

// [IMAGES], bytes.
@group(0) @binding(0) var<storage, read> labels: array<u32>;
// [IMAGES], or nothing if no targets are mixed.
@group(0) @binding(1) var<storage, read> shares: array<f32>;
// [IMAGES, CLASSES]
@group(0) @binding(2) var<storage, read_write> targets: array<f32>;

// (1 - smoothing) onehot(label) + smoothing / K
fn smooth_target(image: u32, k: u32) -> f32 {
    let i = at.a + image;
    let label = (labels[i / 4u] >> (8u * (i % 4u))) & 0xFFu;
    return select(OTHER, OWN, label == k);
}

// targets[i] = smooth(i), or share[i] smooth(i) + (1 - share[i]) smooth(N - 1 - i).
@compute @workgroup_size(256)
fn make_targets(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < IMAGES * CLASSES; i += 256u * groups.x) {
        let image = i / CLASSES;
        let k = i % CLASSES;
        var value = smooth_target(image, k);
        if MIXED == 1u {
            let share = shares[at.b + image];
            value = share * value + (1.0 - share) * smooth_target(IMAGES - 1u - image, k);
        }
        targets[at.c + i] = value;
    }
}
