//! Kernels that treat each number by itself, and the gradient of the bias.

use super::channels::sum_rows;
use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::geometry::{Channels, Dropout, Elements, MoveTowards};

const FILE: &str = "elementwise";

/// x = value
pub fn fill(x: &mut Memory, value: f32) {
    let len = x.len() as u32;
    Dispatch::new(FILE, "fill").constant("LEN", len).write(x).real(value).run(x.len());
}

/// y = x + bias, a channel at a time
pub fn bias_forward(g: &Channels, x: &Memory, bias: &Memory, y: &mut Memory) {
    Dispatch::new(FILE, "bias_forward")
        .constant("LEN", g.len() as u32)
        .constant("CHANNELS", g.channels)
        .read(x)
        .read(bias)
        .write(y)
        .run(g.len());
}

/// dbias = the sum of dy over images and pixels: [N, P, C] -> \[C\]
pub fn bias_backward(g: &Channels, dy: &Memory, dbias: &mut Memory) {
    sum_rows(g.images() * g.pixels(), g.channels(), dy, dbias);
}

/// y = max(x, 0)
pub fn relu_forward(g: &Elements, x: &Memory, y: &mut Memory) {
    Dispatch::new(FILE, "relu_forward").constant("LEN", g.len).read(x).write(y).run(g.len());
}

/// dx = dy where y > 0, else 0
pub fn relu_backward(g: &Elements, y: &Memory, dy: &Memory, dx: &mut Memory) {
    Dispatch::new(FILE, "relu_backward")
        .constant("LEN", g.len)
        .read(y)
        .read(dy)
        .write(dx)
        .run(g.len());
}

/// sum += x
pub fn add_assign(g: &Elements, x: &Memory, sum: &mut Memory) {
    Dispatch::new(FILE, "add_assign").constant("LEN", g.len).read(x).write(sum).run(g.len());
}

/// average += (x - average) share
pub fn move_towards(g: &MoveTowards, x: &Memory, average: &mut Memory) {
    Dispatch::new(FILE, "move_towards")
        .constant("LEN", g.len)
        .read(x)
        .write(average)
        .real(g.share)
        .run(g.len());
}

/// y = x / (1 - rate) where the mask keeps, else 0
pub fn dropout(g: &Dropout, x: &Memory, y: &mut Memory) {
    Dispatch::new(FILE, "dropout")
        .constant("LEN", g.len)
        .constant("THRESHOLD", g.threshold())
        .constant("SCALE", g.scale())
        .constant("SEED_LOW", g.seed_low)
        .constant("SEED_HIGH", g.seed_high)
        .constant("PURPOSE", g.purpose)
        .read(x)
        .write(y)
        .word(g.step)
        .run(g.len().div_ceil(4));
}
