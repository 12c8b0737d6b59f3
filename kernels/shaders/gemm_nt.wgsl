// c = a bᵀ: [M, K] [N, K] -> [M, N]

fn left_vector(row: u32, k: u32) -> vec4f {
    return left_row_vector(row, k);
}

// Four rows of b at one term; neighbouring threads have neighbouring terms.
fn right_vector(k: u32, column: u32) -> vec4f {
    var numbers = vec4f();
    for (var j = 0u; j < 4u; j++) {
        if k < DEPTH && column + j < COLUMNS {
            numbers[j] = right_number((column + j) * DEPTH + k);
        }
    }
    return numbers;
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
