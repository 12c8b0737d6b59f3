// Softmax and cross-entropy of rows of logits. A workgroup goes on by the rows of all workgroups.

@compute @workgroup_size(256)
fn softmax(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
    let rows = 256u / LANES;
    for (var first = group.x * rows; first < ROWS; first += rows * groups.x) {
        softmax_row(thread, first + thread / LANES);
    }
}

// loss = ln(sum) - (logit of the label - largest), which is -ln softmax(logits)[label].
@compute @workgroup_size(256)
fn cross_entropy_forward(@builtin(local_invocation_index) thread: u32,
        @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let rows = 256u / LANES;
    for (var first = group.x * rows; first < ROWS; first += rows * groups.x) {
        let row = first + thread / LANES;
        let softmax = softmax_row(thread, row);
        if row < ROWS && thread % LANES == 0u {
            let label = min(label_of(row), CLASSES - 1u);
            let logit = logits[at.a + row * CLASSES + label];
            store_loss(row, softmax.place, log(softmax.sum) - (logit - softmax.largest));
        }
    }
}

@group(0) @binding(0) var<storage, read> all_losses: array<f32>;
@group(0) @binding(1) var<storage, read> all_hits: array<f32>;
@group(0) @binding(2) var<storage, read_write> summary: array<f32>;

// summary = (mean loss, hits, 0, 0), by one workgroup whose 256 threads are the lanes of one row:
// each adds up every 256th loss.
@compute @workgroup_size(256)
fn summarize(@builtin(local_invocation_index) thread: u32) {
    var loss = 0.0;
    var hit = 0.0;
    for (var row = thread; row < ROWS; row += 256u) {
        loss += all_losses[at.a + row];
        hit += all_hits[at.b + row];
    }
    let loss_sum = row_sum(thread, loss);
    let hit_sum = row_sum(thread, hit);
    if thread == 0u {
        summary[at.c] = loss_sum / f32(ROWS);
        summary[at.c + 1u] = hit_sum;
        summary[at.c + 2u] = 0.0;
        summary[at.c + 3u] = 0.0;
    }
}

// One number.
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> given: array<f32>;
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;

// dlogits = (probabilities - onehot(label)) (dloss / N)
@compute @workgroup_size(256)
fn cross_entropy_backward(@builtin(global_invocation_id) id: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
    let factor = dloss[at.a] / f32(ROWS);
    for (var i = id.x; i < ROWS * CLASSES; i += 256u * groups.x) {
        let onehot = select(0.0, 1.0, i % CLASSES == label_of(i / CLASSES));
        dlogits[at.d + i] = (given[at.b + i] - onehot) * factor;
    }
}
