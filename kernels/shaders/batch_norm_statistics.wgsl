// A batch's mean and deviation, a channel at a time. ROWS are its pixels, N P of them, and then
// the parts that they were cut into.

// Pixels of the batch, and of each part but the last.
override PIXELS: u32;
override PART_PIXELS: u32;
override EPSILON: f32;
// Shares of the old running statistics and of the batch's in the new ones.
override OLD_SHARE: f32;
override NEW_SHARE: f32;

// What is known of a set of numbers: how many, their mean, and the sum of the squared deviations
// from it.
struct Moments { count: f32, mean: f32, squares: f32 }

// The moments of both sets together (Chan, Golub and LeVeque, 1979); either may be empty.
fn merged(left: Moments, right: Moments) -> Moments {
    let count = left.count + right.count;
    let share = right.count / max(count, 1.0);
    let delta = right.mean - left.mean;
    let between = delta * delta * (left.count * share);
    return Moments(count, fma(delta, share, left.mean), left.squares + right.squares + between);
}

var<workgroup> thread_moments: array<Moments, 256>;

// The moments of all threads of a channel, to the one that stores them; see `sum_of_threads`.
fn moments_of_threads(thread: u32, moments: Moments) -> Moments {
    thread_moments[thread] = moments;
    for (var rows = ROWS_AT_ONCE; rows > 1u; rows = (rows + 1u) / 2u) {
        workgroupBarrier();
        let other = thread + (rows + 1u) / 2u * STRIP;
        if other < rows * STRIP {
            thread_moments[thread] = merged(thread_moments[thread], thread_moments[other]);
        }
    }
    return thread_moments[thread];
}

struct Places { a: u32, b: u32, c: u32, d: u32, e: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<f32>;

// The mean of each part's pixels and their squares about it: [ROWS, C] -> [parts, 2, C]. By
// Welford's recurrence (1962): x is read once, and its mean may be far from 0.
@compute @workgroup_size(256)
fn find_moments(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let share = share_of(thread, group);
    var moments = Moments(0.0, 0.0, 0.0);
    for (var row = share.row; row < share.end; row += ROWS_AT_ONCE) {
        let number = x[at.a + row * CHANNELS + share.channel];
        let delta = number - moments.mean;
        moments.count += 1.0;
        moments.mean = fma(delta, 1.0 / moments.count, moments.mean);
        moments.squares = fma(delta, number - moments.mean, moments.squares);
    }
    let all = moments_of_threads(thread, moments);
    if stores(thread, share) {
        let place = at.b + 2u * group.x * CHANNELS + share.channel;
        found[place] = all.mean;
        found[place + CHANNELS] = all.squares;
    }
}

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> inverse_deviation: array<f32>;
@group(0) @binding(3) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(4) var<storage, read_write> running_variance: array<f32>;

// The batch's statistics from what `find_moments` left of ROWS parts, and the running ones, which
// move towards them.
@compute @workgroup_size(256)
fn finish_statistics(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let share = share_of(thread, group);
    let c = share.channel;
    var moments = Moments(0.0, 0.0, 0.0);
    for (var part = share.row; part < share.end; part += ROWS_AT_ONCE) {
        let place = at.a + 2u * part * CHANNELS + c;
        let count = f32(min(PIXELS - part * PART_PIXELS, PART_PIXELS));
        moments = merged(moments, Moments(count, parts[place], parts[place + CHANNELS]));
    }
    let all = moments_of_threads(thread, moments);
    if stores(thread, share) {
        let variance = all.squares / f32(PIXELS);
        let unbiased = all.squares / f32(max(PIXELS, 2u) - 1u);
        mean[at.b + c] = all.mean;
        inverse_deviation[at.c + c] = 1.0 / sqrt(variance + EPSILON);
        let old_mean = running_mean[at.d + c];
        running_mean[at.d + c] = fma(OLD_SHARE, old_mean, NEW_SHARE * all.mean);
        let old_variance = running_variance[at.e + c];
        running_variance[at.e + c] =
            fma(OLD_SHARE, old_variance, NEW_SHARE * unbiased);
    }
}
