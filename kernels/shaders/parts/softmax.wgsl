// Softmax of rows of logits. LANES threads of a workgroup share a row: neighbours read neighbouring
// logits, and a row of few classes does not leave most threads idle.

override ROWS: u32;
override CLASSES: u32;
// A power of two, at most 256.
override LANES: u32;

struct Places { a: u32, b: u32, c: u32, d: u32, e: u32, f: u32 }
var<immediate> at: Places;

// [ROWS, CLASSES]
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> probabilities: array<f32>;
// [ROWS], bytes.
@group(0) @binding(2) var<storage, read> labels: array<u32>;
// [ROWS]
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
@group(0) @binding(4) var<storage, read_write> hits: array<f32>;

var<workgroup> sums: array<f32, 256>;
var<workgroup> ranks: array<u32, 256>;
var<workgroup> places: array<u32, 256>;

// The sum of what the threads of a row have, in a tree. All threads of the workgroup call it.
fn row_sum(thread: u32, value: f32) -> f32 {
    let lane = thread % LANES;
    sums[thread] = value;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sums[thread] += sums[thread + width];
        }
    }
    workgroupBarrier();
    let sum = sums[thread - lane];
    workgroupBarrier();
    return sum;
}

// Larger logits have larger ranks, and both zeros the same. A NaN is larger than nothing, and
// nothing is larger than one that comes first.
fn rank_of(logit: f32, k: u32) -> u32 {
    let bits = bitcast<u32>(logit);
    let magnitude = bits & 0x7FFFFFFFu;
    if magnitude > 0x7F800000u {
        return select(0u, 0xFFFFFFFFu, k == 0u);
    }
    return select(0x80000000u + magnitude, 0x80000000u - magnitude, bits >= 0x80000000u);
}

// The place of the first largest of the row that starts at `start`. All threads of the workgroup
// call it.
fn first_largest(thread: u32, start: u32) -> u32 {
    let lane = thread % LANES;
    var best = 0u;
    var place = 0u;
    for (var k = lane; k < CLASSES; k += LANES) {
        let rank = rank_of(logits[start + k], k);
        if rank > best {
            best = rank;
            place = k;
        }
    }
    ranks[thread] = best;
    places[thread] = place;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = thread + width;
            let comes_first = ranks[other] == ranks[thread] && places[other] < places[thread];
            if ranks[other] > ranks[thread] || comes_first {
                ranks[thread] = ranks[other];
                places[thread] = places[other];
            }
        }
    }
    workgroupBarrier();
    return places[thread - lane];
}

struct Softmax {
    // The first largest logit, and which it is.
    largest: f32,
    place: u32,
    // The sum of exp(logit - largest).
    sum: f32,
}

// Stores the probabilities of a row. All threads of the workgroup call it; those whose row is
// behind the last one compute that again and store nothing.
fn softmax_row(thread: u32, row: u32) -> Softmax {
    let lane = thread % LANES;
    let first = min(row, ROWS - 1u) * CLASSES;
    let place = first_largest(thread, at.a + first);
    let largest = logits[at.a + first + place];
    var sum = 0.0;
    for (var k = lane; k < CLASSES; k += LANES) {
        sum += exp(logits[at.a + first + k] - largest);
    }
    sum = row_sum(thread, sum);
    if row < ROWS {
        for (var k = lane; k < CLASSES; k += LANES) {
            probabilities[at.b + first + k] = exp(logits[at.a + first + k] - largest) / sum;
        }
    }
    return Softmax(largest, place, sum);
}

fn label_of(row: u32) -> u32 {
    let i = at.c + row;
    return (labels[i / 4u] >> (8u * (i % 4u))) & 0xFFu;
}

// Stores a row's loss, and 1 if the first largest logit is the label's. A label that is none of the
// classes cannot be refused here: it makes the loss NaN, which stops a training.
fn store_loss(row: u32, place: u32, loss: f32) {
    let label = label_of(row);
    losses[at.d + row] = select(bitcast<f32>(0x7FC00000u | label), loss, label < CLASSES);
    hits[at.e + row] = select(0.0, 1.0, label == place);
}
