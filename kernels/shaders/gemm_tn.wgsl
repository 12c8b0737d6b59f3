// c = aᵀ b: [K, M] [K, N] -> [M, N]

// Four terms of a column of a; neighbouring threads have neighbouring columns.
fn left_vector(row: u32, k: u32) -> vec4f {
    var numbers = vec4f();
    for (var j = 0u; j < 4u; j++) {
        if row < ROWS && k + j < DEPTH {
            numbers[j] = left_number((k + j) * ROWS + row);
        }
    }
    return numbers;
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_row_vector(k, column);
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
