// result[row, column] = the sum over k of left[row, k] right[k, column], a tile of 64 x 64 a
// workgroup, 16 terms at a time. The module says where the operands come from:
//   left_vector(row, k)      left[row, k .. k + 4]
//   right_vector(k, column)  right[k, column .. column + 4]
//   finished(sum, column)    what is stored for a sum
// all of them 0 outside the matrices.
//
// A thread keeps 4 x 4 sums in registers. Both operands lie in workgroup memory as vectors: of
// four terms a row, and of four columns a term; so every access there is one of 16 bytes, and the
// four vectors of each side serve 64 multiply-adds.
//
// The terms can be cut into slices, each summed up for itself: with few tiles and many terms they
// fill the device.

override ROWS: u32;
override COLUMNS: u32;
override DEPTH: u32;
// Terms of a slice, a multiple of 16.
override SLICE: u32;
override COLUMN_TILES: u32;
// Which of two neighbouring threads read neighbouring numbers of the operand.
override LEFT_ALONG_DEPTH: bool;
override RIGHT_ALONG_COLUMNS: bool;

@group(0) @binding(2) var<storage, read_write> result: array<f32>;

// A row has a vector to spare, so that rows start in different banks.
const LEFT_PITCH: u32 = 5u;
var<workgroup> left_tile: array<vec4f, 320>;
var<workgroup> right_tile: array<vec4f, 256>;

@compute @workgroup_size(16, 16)
fn product(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) place: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_row = 64u * (group.x + 65535u * group.z);
    let first_column = 64u * (group.y % COLUMN_TILES);
    let slice = group.y / COLUMN_TILES;
    let end = min((slice + 1u) * SLICE, DEPTH);

    // The vector of each operand that this thread brings.
    let left_row = select(thread % 64u, thread / 4u, LEFT_ALONG_DEPTH);
    let left_part = select(thread / 64u, thread % 4u, LEFT_ALONG_DEPTH);
    let right_term = select(thread % 16u, thread / 16u, RIGHT_ALONG_COLUMNS);
    let right_part = select(thread / 16u, thread % 16u, RIGHT_ALONG_COLUMNS);

    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var k = slice * SLICE; k < end; k += 16u) {
        left_tile[left_row * LEFT_PITCH + left_part] =
            left_vector(first_row + left_row, k + 4u * left_part);
        right_tile[right_term * 16u + right_part] =
            right_vector(k + right_term, first_column + 4u * right_part);
        workgroupBarrier();
        for (var part = 0u; part < 4u; part++) {
            let right0 = right_tile[(4u * part) * 16u + place.x];
            let right1 = right_tile[(4u * part + 1u) * 16u + place.x];
            let right2 = right_tile[(4u * part + 2u) * 16u + place.x];
            let right3 = right_tile[(4u * part + 3u) * 16u + place.x];
            let row0 = left_tile[(4u * place.y) * LEFT_PITCH + part];
            sums0 = add_terms(sums0, row0, right0, right1, right2, right3);
            let row1 = left_tile[(4u * place.y + 1u) * LEFT_PITCH + part];
            sums1 = add_terms(sums1, row1, right0, right1, right2, right3);
            let row2 = left_tile[(4u * place.y + 2u) * LEFT_PITCH + part];
            sums2 = add_terms(sums2, row2, right0, right1, right2, right3);
            let row3 = left_tile[(4u * place.y + 3u) * LEFT_PITCH + part];
            sums3 = add_terms(sums3, row3, right0, right1, right2, right3);
        }
        workgroupBarrier();
    }

    let row = first_row + 4u * place.y;
    let column = first_column + 4u * place.x;
    store(slice, row, column, sums0);
    store(slice, row + 1u, column, sums1);
    store(slice, row + 2u, column, sums2);
    store(slice, row + 3u, column, sums3);
}

// Four terms of four columns, in order.
fn add_terms(sums: vec4f, row: vec4f, right0: vec4f, right1: vec4f, right2: vec4f, right3: vec4f)
    -> vec4f {
    let two = fma(vec4f(row.y), right1, fma(vec4f(row.x), right0, sums));
    return fma(vec4f(row.w), right3, fma(vec4f(row.z), right2, two));
}

fn store(slice: u32, row: u32, column: u32, sums: vec4f) {
    if row >= ROWS {
        return;
    }
    let start = at.result + (slice * ROWS + row) * COLUMNS;
    if column < COLUMNS {
        result[start + column] = finished(sums.x, column);
    }
    if column + 1u < COLUMNS {
        result[start + column + 1u] = finished(sums.y, column + 1u);
    }
    if column + 2u < COLUMNS {
        result[start + column + 2u] = finished(sums.z, column + 2u);
    }
    if column + 3u < COLUMNS {
        result[start + column + 3u] = finished(sums.w, column + 3u);
    }
}
