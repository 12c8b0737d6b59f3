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

// right[k, column .. column + 4] of a matrix [DEPTH, COLUMNS]
fn right_row_vector(k: u32, column: u32) -> vec4f {
    if k >= DEPTH || column >= COLUMNS {
        return vec4f();
    }
    let start = k * COLUMNS + column;
    if RIGHT_VECTORS {
        return right_four(start);
    }
    var numbers = vec4f(right_number(start), 0.0, 0.0, 0.0);
    if column + 1u < COLUMNS {
        numbers.y = right_number(start + 1u);
    }
    if column + 2u < COLUMNS {
        numbers.z = right_number(start + 2u);
    }
    if column + 3u < COLUMNS {
        numbers.w = right_number(start + 3u);
    }
    return numbers;
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
    var numbers = vec4f(left_number(start), 0.0, 0.0, 0.0);
    if k + 1u < DEPTH {
        numbers.y = left_number(start + 1u);
    }
    if k + 2u < DEPTH {
        numbers.z = left_number(start + 2u);
    }
    if k + 3u < DEPTH {
        numbers.w = left_number(start + 3u);
    }
    return numbers;
}
