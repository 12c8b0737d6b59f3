// The two operands of a product, as vectors: a number is a component of one. Where numbers start
// at multiples of four and come in fours, a whole vector is read at once.

// Whether vectors of the left operand, or of the right one, are vectors of its memory.
override LEFT_VECTORS: bool;
override RIGHT_VECTORS: bool;

struct Places { left: u32, right: u32, result: u32, bias: u32 }
var<immediate> at: Places;

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;

fn left_number(i: u32) -> f32 {
    let place = at.left + i;
    return left[place / 4u][place % 4u];
}

fn right_number(i: u32) -> f32 {
    let place = at.right + i;
    return right[place / 4u][place % 4u];
}

fn left_four(i: u32) -> vec4f {
    return left[(at.left + i) / 4u];
}

fn right_four(i: u32) -> vec4f {
    return right[(at.right + i) / 4u];
}

// The first `count` of four numbers of an operand, and 0 for the others.
fn left_some(start: u32, count: u32) -> vec4f {
    var numbers = vec4f();
    for (var j = 0u; j < min(count, 4u); j++) {
        numbers[j] = left_number(start + j);
    }
    return numbers;
}

fn right_some(start: u32, count: u32) -> vec4f {
    var numbers = vec4f();
    for (var j = 0u; j < min(count, 4u); j++) {
        numbers[j] = right_number(start + j);
    }
    return numbers;
}

// right[k, column .. column + 4] of a matrix [DEPTH, COLUMNS]
fn right_row_vector(k: u32, column: u32) -> vec4f {
    if k >= DEPTH || column >= COLUMNS {
        return vec4f();
    }
    let start = k * COLUMNS + column;
    if RIGHT_VECTORS {
        return right_four(start);
    }
    return right_some(start, COLUMNS - column);
}

// left[row, k .. k + 4] of a matrix [ROWS, DEPTH]
fn left_row_vector(row: u32, k: u32) -> vec4f {
    if row >= ROWS || k >= DEPTH {
        return vec4f();
    }
    let start = row * DEPTH + k;
    if LEFT_VECTORS {
        return left_four(start);
    }
    return left_some(start, DEPTH - k);
}
