// result[row, column] = the sum over k of left[row, k] right[k, column], a tile of 64 x 64,
// 128 x 32 or 64 x 32 a workgroup, 16 terms at a time. The module says where the operands come
// from, four numbers that are neighbours in memory at a time:
//   left_vector(row, k)      left[row, k .. k + 4], or left[row .. row + 4, k]
//   right_vector(k, column)  right[k, column .. column + 4], or right[k .. k + 4, column]
//   finished(sum, column)    what is stored for a sum
// all of them 0 outside the matrices.
//
// A thread keeps 4 x 4 sums in registers. Both operands lie in workgroup memory as the vectors that
// were read, so that every access there is one of 16 bytes. Four vectors of a side are 4 x 4
// numbers, turned in registers if need be; those of both sides serve 64 multiply-adds. The vectors
// of the next terms are on their way while these are multiplied.
//
// The terms can be cut into slices, each summed up for itself: with few tiles and many terms they
// fill the device.

override ROWS: u32;
override COLUMNS: u32;
override DEPTH: u32;
// Terms of a slice, a multiple of 16 where there are several.
override SLICE: u32;
override COLUMN_TILES: u32;
// Which way four neighbours in memory go.
override LEFT_ALONG_DEPTH: bool;
override RIGHT_ALONG_COLUMNS: bool;

override THREADS: u32;
// Vectors of four columns of a tile, 16 or 8, and of four rows; a thread has one of each.
override COLUMN_VECTORS: u32;
override ROW_VECTORS: u32 = THREADS / COLUMN_VECTORS;

// The four vectors of a row or a column side by side, or all vectors of a term, and always one to
// spare, so that neighbours begin in different banks. As many as the largest tiles need.
var<workgroup> left_tile: array<vec4f, 640>;
var<workgroup> right_tile: array<vec4f, 320>;

// Where vector `i` of the left operand comes from and goes to: its row, its term and its place in
// workgroup memory. Neighbouring threads have neighbours in the operand's memory.
fn left_place(i: u32) -> vec3u {
    if LEFT_ALONG_DEPTH {
        return vec3u(i / 4u, 4u * (i % 4u), i / 4u * 5u + i % 4u);
    }
    let row = i % ROW_VECTORS;
    let term = i / ROW_VECTORS;
    return vec3u(4u * row, term, term * (ROW_VECTORS + 1u) + row);
}

// The same of the right operand: term, column and place.
fn right_place(i: u32) -> vec3u {
    if RIGHT_ALONG_COLUMNS {
        let column = i % COLUMN_VECTORS;
        let term = i / COLUMN_VECTORS;
        return vec3u(term, 4u * column, term * (COLUMN_VECTORS + 1u) + column);
    }
    return vec3u(4u * (i % 4u), i / 4u, i / 4u * 5u + i % 4u);
}

// The rows of a thread: neighbours if they came so, and else some distance apart, so that the
// threads' own are in different banks.
fn tile_row(y: u32, i: u32) -> u32 {
    return select(4u * y + i, y + ROW_VECTORS * i, LEFT_ALONG_DEPTH);
}

fn tile_column(x: u32, i: u32) -> u32 {
    return select(x + COLUMN_VECTORS * i, 4u * x + i, RIGHT_ALONG_COLUMNS);
}

// Four terms of a thread's rows, a column a row.
fn left_numbers(y: u32, part: u32) -> mat4x4f {
    if LEFT_ALONG_DEPTH {
        let place = 5u * y + part;
        let step = 5u * ROW_VECTORS;
        return mat4x4f(
            left_tile[place],
            left_tile[place + step],
            left_tile[place + 2u * step],
            left_tile[place + 3u * step],
        );
    }
    let step = ROW_VECTORS + 1u;
    let place = 4u * part * step + y;
    return transpose(mat4x4f(
        left_tile[place],
        left_tile[place + step],
        left_tile[place + 2u * step],
        left_tile[place + 3u * step],
    ));
}

// Four terms of a thread's columns, a column a term.
fn right_numbers(x: u32, part: u32) -> mat4x4f {
    if RIGHT_ALONG_COLUMNS {
        let step = COLUMN_VECTORS + 1u;
        let place = 4u * part * step + x;
        return mat4x4f(
            right_tile[place],
            right_tile[place + step],
            right_tile[place + 2u * step],
            right_tile[place + 3u * step],
        );
    }
    let place = 5u * x + part;
    let step = 5u * COLUMN_VECTORS;
    return transpose(mat4x4f(
        right_tile[place],
        right_tile[place + step],
        right_tile[place + 2u * step],
        right_tile[place + 3u * step],
    ));
}

// Four terms of a row and four columns, in order.
fn add_terms(sums: vec4f, row: vec4f, right: mat4x4f) -> vec4f {
    let two = fma(vec4f(row.y), right[1], fma(vec4f(row.x), right[0], sums));
    return fma(vec4f(row.w), right[3], fma(vec4f(row.z), right[2], two));
}

// The sums of a thread, a column a row of the result.
fn tile_sums(group: vec3u, thread: u32) -> mat4x4f {
    let first_row = 4u * ROW_VECTORS * (group.x + 65535u * group.z);
    let first_column = 4u * COLUMN_VECTORS * (group.y % COLUMN_TILES);
    let slice = group.y / COLUMN_TILES;
    let end = min((slice + 1u) * SLICE, DEPTH);

    // The vectors that this thread brings: one of the left operand, or two where a tile has twice
    // as many rows as columns or more; and one of the right operand, if there are so many.
    let left0 = left_place(thread);
    let left1 = left_place(thread + THREADS);
    let right0 = right_place(thread);
    let brings_two = COLUMN_VECTORS == 8u;
    let brings_right = thread < 16u * COLUMN_VECTORS;

    let x = thread % COLUMN_VECTORS;
    let y = thread / COLUMN_VECTORS;
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    var next0 = left_vector(first_row + left0.x, slice * SLICE + left0.y);
    var next1 = vec4f();
    if brings_two {
        next1 = left_vector(first_row + left1.x, slice * SLICE + left1.y);
    }
    var next_right = vec4f();
    if brings_right {
        next_right = right_vector(slice * SLICE + right0.x, first_column + right0.y);
    }
    for (var k = slice * SLICE; k < end; k += 16u) {
        left_tile[left0.z] = next0;
        if brings_two {
            left_tile[left1.z] = next1;
        }
        if brings_right {
            right_tile[right0.z] = next_right;
        }
        workgroupBarrier();
        if k + 16u < end {
            next0 = left_vector(first_row + left0.x, k + 16u + left0.y);
            if brings_two {
                next1 = left_vector(first_row + left1.x, k + 16u + left1.y);
            }
            if brings_right {
                next_right = right_vector(k + 16u + right0.x, first_column + right0.y);
            }
        }
        for (var part = 0u; part < 4u; part++) {
            let rows = left_numbers(y, part);
            let right = right_numbers(x, part);
            sums0 = add_terms(sums0, rows[0], right);
            sums1 = add_terms(sums1, rows[1], right);
            sums2 = add_terms(sums2, rows[2], right);
            sums3 = add_terms(sums3, rows[3], right);
        }
        workgroupBarrier();
    }
    return mat4x4f(sums0, sums1, sums2, sums3);
}

// A thread's row number `i`.
fn result_row(group: vec3u, thread: u32, i: u32) -> u32 {
    let first_row = 4u * ROW_VECTORS * (group.x + 65535u * group.z);
    return first_row + tile_row(thread / COLUMN_VECTORS, i);
}

// Where a row of a slice begins in the result.
fn row_start(group: vec3u, row: u32) -> u32 {
    return at.result + (group.y / COLUMN_TILES * ROWS + row) * COLUMNS;
}

@group(0) @binding(2) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(THREADS)
fn product(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let sums = tile_sums(group, thread);
    store(group, thread, 0u, sums[0]);
    store(group, thread, 1u, sums[1]);
    store(group, thread, 2u, sums[2]);
    store(group, thread, 3u, sums[3]);
}

fn store(group: vec3u, thread: u32, i: u32, sums: vec4f) {
    let row = result_row(group, thread, i);
    if row < ROWS {
        let start = row_start(group, row);
        let first_column = 4u * COLUMN_VECTORS * (group.y % COLUMN_TILES);
        let x = thread % COLUMN_VECTORS;
        store_number(start, first_column + tile_column(x, 0u), sums.x);
        store_number(start, first_column + tile_column(x, 1u), sums.y);
        store_number(start, first_column + tile_column(x, 2u), sums.z);
        store_number(start, first_column + tile_column(x, 3u), sums.w);
    }
}

fn store_number(start: u32, column: u32, sum: f32) {
    if column < COLUMNS {
        result[start + column] = finished(sum, column);
    }
}

@group(0) @binding(2) var<storage, read_write> result_vectors: array<vec4f>;

// The same where a thread's columns are a vector of the result.
@compute @workgroup_size(THREADS)
fn product_by_vectors(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let sums = tile_sums(group, thread);
    store_vector(group, thread, 0u, sums[0]);
    store_vector(group, thread, 1u, sums[1]);
    store_vector(group, thread, 2u, sums[2]);
    store_vector(group, thread, 3u, sums[3]);
}

fn store_vector(group: vec3u, thread: u32, i: u32, sums: vec4f) {
    let row = result_row(group, thread, i);
    let column = 4u * (COLUMN_VECTORS * (group.y % COLUMN_TILES) + thread % COLUMN_VECTORS);
    if row < ROWS && column < COLUMNS {
        result_vectors[(row_start(group, row) + column) / 4u] = vec4f(
            finished(sums.x, column),
            finished(sums.y, column + 1u),
            finished(sums.z, column + 2u),
            finished(sums.w, column + 3u),
        );
    }
}
