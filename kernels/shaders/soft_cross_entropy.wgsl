// Cross-entropy of rows of logits against a distribution over the classes. A workgroup goes on by
// the rows of all workgroups.

// [ROWS, CLASSES]
@group(0) @binding(5) var<storage, read> targets: array<f32>;

// loss = the sum over k of target[k] (ln(sum) - (logit[k] - largest)), where classes whose target
// is 0 have no say.
@compute @workgroup_size(256)
fn soft_cross_entropy_forward(@builtin(local_invocation_index) thread: u32,
        @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let rows = 256u / LANES;
    for (var first = group.x * rows; first < ROWS; first += rows * groups.x) {
        let row = first + thread / LANES;
        let softmax = softmax_row(thread, row);
        var loss = 0.0;
        for (var k = thread % LANES; row < ROWS && k < CLASSES; k += LANES) {
            let share = targets[at.f + row * CLASSES + k];
            if share != 0.0 {
                let logit = logits[at.a + row * CLASSES + k];
                loss += share * (log(softmax.sum) - (logit - softmax.largest));
            }
        }
        loss = row_sum(thread, loss);
        if row < ROWS && thread % LANES == 0u {
            store_loss(row, softmax.place, loss);
        }
    }
}

// One number.
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> given: array<f32>;
@group(0) @binding(2) var<storage, read> given_targets: array<f32>;
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;

// dlogits = (probabilities times the row's sum of targets - targets) (dloss / N)
@compute @workgroup_size(256)
fn soft_cross_entropy_backward(@builtin(local_invocation_index) thread: u32,
        @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let factor = dloss[at.a] / f32(ROWS);
    let rows = 256u / LANES;
    for (var first = group.x * rows; first < ROWS; first += rows * groups.x) {
        let row = first + thread / LANES;
        // A row behind the last one has no classes.
        let start = row * CLASSES + thread % LANES;
        let end = select(0u, (row + 1u) * CLASSES, row < ROWS);
        var whole = 0.0;
        for (var i = start; i < end; i += LANES) {
            whole += given_targets[at.c + i];
        }
        whole = row_sum(thread, whole);
        for (var i = start; i < end; i += LANES) {
            let slope = fma(given[at.b + i], whole, -given_targets[at.c + i]);
            dlogits[at.d + i] = slope * factor;
        }
    }
}
