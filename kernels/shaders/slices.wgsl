// Sums of slices that were summed up each for itself: [S, L] -> [L], in the order of the slices.

override LEN: u32;
override SLICES: u32;

struct Places { parts: u32, sums: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(256)
fn sum_slices(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < LEN; i += 256u * groups.x) {
        var sum = parts[at.parts + i];
        for (var slice = 1u; slice < SLICES; slice++) {
            sum += parts[at.parts + slice * LEN + i];
        }
        sums[at.sums + i] = sum;
    }
}
