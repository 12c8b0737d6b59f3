// c = a b: [M, K] [K, N] -> [M, N]

fn left_vector(row: u32, k: u32) -> vec4f {
    return left_from_matrix(row, k, ROWS, DEPTH);
}

fn right_vector(k: u32, column: u32) -> vec4f {
    return right_from_matrix(k, column, DEPTH, COLUMNS);
}

fn finished(sum: f32, column: u32) -> f32 {
    return sum;
}
