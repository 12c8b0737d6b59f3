// The gradients of gamma and beta, and the factors of that of x. ROWS are the batch's pixels, N P
// of them, and then the parts that they were cut into.

override PIXELS: u32;

struct Places { a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> gamma: array<f32>;
@group(0) @binding(1) var<storage, read> beta: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> inverse_deviation: array<f32>;

@group(0) @binding(4) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> found: array<f32>;

// The sums of dn and of dn xhat over each part's pixels, where dn is the gradient of the
// normalised number and xhat = (x - mean) inverse_deviation: [ROWS, C] -> [parts, 2, C]
@compute @workgroup_size(256)
fn find_sums(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let share = share_of(thread, group);
    // A thread without a channel of its own looks at one that is there.
    let c = min(share.channel, CHANNELS - 1u);
    let centre = mean[at.c + c];
    let inverse = inverse_deviation[at.d + c];
    let scale = gamma[at.a + c] * inverse;
    let shift = beta[at.b + c];
    var sum = 0.0;
    var xhat_sum = 0.0;
    for (var row = share.row; row < share.end; row += ROWS_AT_ONCE) {
        let i = row * CHANNELS + c;
        let number = x[at.e + i];
        let dn = before_relu(dy[at.f + i], normalised(number, centre, scale, shift));
        sum += dn;
        xhat_sum = fma(dn, (number - centre) * inverse, xhat_sum);
    }
    let total = sum_of_threads(thread, sum);
    let xhat_total = sum_of_threads(thread, xhat_sum);
    if stores(thread, share) {
        let place = at.g + 2u * group.x * CHANNELS + c;
        found[place] = total;
        found[place + CHANNELS] = xhat_total;
    }
}

@group(0) @binding(4) var<storage, read> parts: array<f32>;
@group(0) @binding(5) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(6) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(7) var<storage, read_write> factors: array<f32>;

// dgamma and dbeta from what `find_sums` left of ROWS parts, and all that `input_gradient` needs
// to know of a channel, [6, C]: mean, inverse deviation, scale, beta, the means of dn and dn xhat.
@compute @workgroup_size(256)
fn finish_gradients(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let share = share_of(thread, group);
    let c = share.channel;
    var sum = 0.0;
    var xhat_sum = 0.0;
    for (var part = share.row; part < share.end; part += ROWS_AT_ONCE) {
        let place = at.e + 2u * part * CHANNELS + c;
        sum += parts[place];
        xhat_sum += parts[place + CHANNELS];
    }
    let total = sum_of_threads(thread, sum);
    let xhat_total = sum_of_threads(thread, xhat_sum);
    if stores(thread, share) {
        dbeta[at.g + c] = total;
        dgamma[at.f + c] = xhat_total;
        let inverse = inverse_deviation[at.d + c];
        let place = at.h + c;
        factors[place] = mean[at.c + c];
        factors[place + CHANNELS] = inverse;
        factors[place + 2u * CHANNELS] = gamma[at.a + c] * inverse;
        factors[place + 3u * CHANNELS] = beta[at.b + c];
        factors[place + 4u * CHANNELS] = total / f32(PIXELS);
        factors[place + 5u * CHANNELS] = xhat_total / f32(PIXELS);
    }
}
