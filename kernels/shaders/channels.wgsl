// The sums of each part's rows: [ROWS, CHANNELS] -> [parts, CHANNELS]

struct Places { x: u32, sums: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(256)
fn sum_rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let share = share_of(thread, group);
    var sum = 0.0;
    for (var row = share.row; row < share.end; row += ROWS_AT_ONCE) {
        sum += x[at.x + row * CHANNELS + share.channel];
    }
    let total = sum_of_threads(thread, sum);
    if stores(thread, share) {
        sums[at.sums + group.x * CHANNELS + share.channel] = total;
    }
}
