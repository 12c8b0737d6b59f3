// c = a bᵀ: [M, K] [N, K] -> [M, N]

fn left_vector(row: u32, k: u32) -> vec4f {
    return left_from_matrix(row, k, ROWS, DEPTH);
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_from_matrix(column, k, COLUMNS, DEPTH);
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
