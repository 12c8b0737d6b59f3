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

// The first `count` of four numbers of an operand, at least one, and 0 for the others. All four
// reads are made, of numbers that are there, so that none waits for another.
fn left_some(start: u32, count: u32) -> vec4f {
    let last = start + count - 1u;
    let numbers = vec4f(
        left_number(start),
        left_number(min(start + 1u, last)),
        left_number(min(start + 2u, last)),
        left_number(min(start + 3u, last)),
    );
    return select(vec4f(), numbers, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

fn right_some(start: u32, count: u32) -> vec4f {
    let last = start + count - 1u;
    let numbers = vec4f(
        right_number(start),
        right_number(min(start + 1u, last)),
        right_number(min(start + 2u, last)),
        right_number(min(start + 3u, last)),
    );
    return select(vec4f(), numbers, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

// matrix[row, column .. column + 4] of a matrix [rows, columns] that is the left operand, and 0
// outside of it.
fn left_from_matrix(row: u32, column: u32, rows: u32, columns: u32) -> vec4f {
    if row >= rows || column >= columns {
        return vec4f();
    }
    let start = row * columns + column;
    if LEFT_VECTORS {
        return left_four(start);
    }
    return left_some(start, columns - column);
}

// The same of the right operand.
fn right_from_matrix(row: u32, column: u32, rows: u32, columns: u32) -> vec4f {
    if row >= rows || column >= columns {
        return vec4f();
    }
    let start = row * columns + column;
    if RIGHT_VECTORS {
        return right_four(start);
    }
    return right_some(start, columns - column);
}
