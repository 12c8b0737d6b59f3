// Sums over the rows of a matrix [ROWS, CHANNELS], such as the pixels of a batch.
//
// The matrix is cut into parts of PART_ROWS rows and strips of STRIP channels, a workgroup each:
// x counts the parts, y the strips. Neighbouring threads have neighbouring channels, so that they
// read neighbouring numbers; with few channels the threads take several rows at once. A thread
// goes through its rows in order, and the threads of a channel are merged by a tree.

override ROWS: u32;
override CHANNELS: u32;
override STRIP: u32;
override PART_ROWS: u32;
override ROWS_AT_ONCE: u32 = 256u / STRIP;

// What a thread goes through: of its channel each ROWS_AT_ONCE-th row from `row` on, before `end`.
struct Share { channel: u32, row: u32, end: u32 }

fn share_of(thread: u32, group: vec3u) -> Share {
    let channel = group.y * STRIP + thread % STRIP;
    let first = group.x * PART_ROWS;
    let end = min(first + PART_ROWS, ROWS);
    if thread >= ROWS_AT_ONCE * STRIP || channel >= CHANNELS {
        return Share(channel, end, end);
    }
    return Share(channel, first + thread / STRIP, end);
}

// Whether a thread stores what all threads of its channel have come to.
fn stores(thread: u32, share: Share) -> bool {
    return thread < STRIP && share.channel < CHANNELS;
}

var<workgroup> thread_sums: array<f32, 256>;

// The sum over all threads of a channel, to the one that stores it.
fn sum_of_threads(thread: u32, sum: f32) -> f32 {
    // By now everybody has read what an earlier call returned.
    workgroupBarrier();
    thread_sums[thread] = sum;
    for (var rows = ROWS_AT_ONCE; rows > 1u; rows = (rows + 1u) / 2u) {
        workgroupBarrier();
        let other = thread + (rows + 1u) / 2u * STRIP;
        if other < rows * STRIP {
            thread_sums[thread] += thread_sums[other];
        }
    }
    return thread_sums[thread];
}
