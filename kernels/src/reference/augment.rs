//! Picking a batch out of a resident data set and changing it on the way.

use super::Real;
use crate::geometry::{Augment, Change};

/// x\[i\] = (changed(pixels\[order\[i\]\]) - offset) / divisor:
/// [available, H, W, C] \[N\] -> [N, H, W, C]
///
/// What an output pixel shows lies between four pixels of the image. Its place is rounded to
/// 1 / 256 pixel, so the mean of the four, weighted by nearness, is a whole number of 65536ths of
/// a byte. Outside of the image all bytes are 0.
///
/// # Panics
/// If an entry of the order is not less than the number of available images, or the geometry has
/// a fault.
pub fn augment<T: Real>(g: &Augment, pixels: &[u8], order: &[u32], x: &mut [T]) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    let (h, w, channels, len) = (g.height(), g.width(), g.channels(), g.gather().image_len());
    let (offset, divisor) = (T::nearest(g.offset.into()), T::nearest(g.divisor.into()));
    for i in 0..g.images() {
        let image = &pixels[order[i] as usize * len..][..len];
        let change = g.change(order[i]);
        let mut noise = g.noise(order[i]);
        for j in 0..len {
            let (row, column, channel) = (j / channels / w, j / channels % w, j % channels);
            let byte = |row: i64, column: i64| {
                let inside = (0..h as i64).contains(&row) && (0..w as i64).contains(&column);
                let column = if change.flipped { w as i64 - 1 - column } else { column };
                let at = (row * w as i64 + column) * channels as i64 + channel as i64;
                if inside { i64::from(image[at as usize]) } else { 0 }
            };
            let [y, x256] = source(g, &change, row, column);
            let (top, left, down, right) = (y >> 8, x256 >> 8, y & 255, x256 & 255);
            let above = byte(top, left) * (256 - right) + byte(top, left + 1) * right;
            let below = byte(top + 1, left) * (256 - right) + byte(top + 1, left + 1) * right;
            let mut value = (above * (256 - down) + below * down) as f64 / 65536.0;
            if change.erased.is_some_and(|erased| erased.contains(row, column)) {
                value = noise.next().unwrap_or_default().into();
            }
            x[i * len + j] = (T::nearest(value) - offset) / divisor;
        }
    }
}

/// Where in the image an output pixel comes from, row and column in 1 / 256 pixel: moved back, then
/// turned back about the centre.
fn source(g: &Augment, change: &Change, row: usize, column: usize) -> [i64; 2] {
    let centre = [g.height(), g.width()].map(|side| (side as f64 - 1.0) / 2.0);
    let y = row as f64 - f64::from(change.down) - centre[0];
    let x = column as f64 - f64::from(change.right) - centre[1];
    let (sine, cosine) = (f64::from(change.sine) / 65536.0, f64::from(change.cosine) / 65536.0);
    let turned = [cosine * y - sine * x + centre[0], cosine * x + sine * y + centre[1]];
    turned.map(|place| (256.0 * place + 0.5).floor() as i64)
}
