// What forward and backward pass of batch normalisation must compute in the same way.

// Whether a ReLU follows.
override HAS_RELU: bool;

// gamma (x - mean) inverse_deviation + beta with scale = gamma inverse_deviation; where a ReLU
// follows, its gradient hangs on the sign.
fn normalised(x: f32, mean: f32, scale: f32, beta: f32) -> f32 {
    return fma(x - mean, scale, beta);
}

// What is stored for a normalised number.
fn after_relu(normal: f32) -> f32 {
    return select(normal, 0.0, HAS_RELU && normal < 0.0);
}

// The gradient of a normalised number from that of what was stored for it.
fn before_relu(dy: f32, normal: f32) -> f32 {
    return select(dy, 0.0, HAS_RELU && !(normal > 0.0));
}
