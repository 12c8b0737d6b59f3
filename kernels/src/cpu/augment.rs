//! Picking a batch out of a resident data set and changing it on the way: a task an image.

use super::isa::Isa;
use super::scratch::Scratch;
use super::simd::{Kernel, LANES, Simd};
use crate::geometry::{Augment, Change};
use crate::threads;

/// x\[i\] = (changed(pixels\[order\[i\]\]) - offset) / divisor:
/// [available, H, W, C] \[N\] -> [N, H, W, C]
///
/// Places are whole 256ths of a pixel and bytes are whole, so the weighted means are exact in f32:
/// they are the reference's numbers in any order of operations.
///
/// # Panics
/// If an entry of the order is not less than the number of available images, or the geometry has
/// a fault.
pub fn augment(g: &Augment, pixels: &[u8], order: &[u32], x: &mut [f32]) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    super::gather::check_order(&g.gather(), order);
    let (isa, len) = (Isa::current(), g.gather().image_len());
    let (rows, row_len) = (g.height() + BORDER, (g.width() + BORDER) * g.channels());
    threads::chunks(x, len, |i, x| {
        let image = &pixels[order[i] as usize * len..][..len];
        let change = g.change(order[i]);
        let mut framed = Scratch::new(rows * row_len);
        frame(g, change.flipped, image, &mut framed.write());
        isa.run(Sample { g, change, framed: &framed.read(), x });
        erase(g, order[i], &change, x);
    });
}

/// Rows and columns of zeros around an image: one before it and two behind it, so that each place
/// from -1 to the side, both included, has four neighbours.
const BORDER: usize = 3;

/// The image, flipped if it is to be, with zeros around it.
fn frame(g: &Augment, flipped: bool, image: &[u8], framed: &mut [f32]) {
    let (w, channels) = (g.width() * g.channels(), g.channels());
    framed.fill(0.0);
    let rows = framed.chunks_exact_mut(w + BORDER * channels).skip(1);
    for (framed, bytes) in rows.zip(image.chunks_exact(w)) {
        let framed = &mut framed[channels..];
        if flipped {
            let pixels = framed.chunks_exact_mut(channels).zip(bytes.chunks_exact(channels).rev());
            pixels.for_each(|(framed, bytes)| copy(bytes, framed));
        } else {
            copy(bytes, framed);
        }
    }
}

fn copy(bytes: &[u8], x: &mut [f32]) {
    x.iter_mut().zip(bytes).for_each(|(x, &byte)| *x = byte.into());
}

/// The image turned, moved and normalised.
struct Sample<'a> {
    g: &'a Augment,
    change: Change,
    framed: &'a [f32],
    x: &'a mut [f32],
}

impl Kernel for Sample<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Sample { g, change, framed, x } = self;
        let (channels, row_len) = (g.channels(), (g.width() + BORDER) * g.channels());
        let (h, w) = (g.height as i32, g.width as i32);
        for (row, x) in (0..h).zip(x.chunks_exact_mut(g.width() * channels)) {
            // Twice the distance from the centre, which lies between pixels at times; so places
            // are in 1 / 131072 pixel, and a half of what is cut off below rounds them.
            let (y, first) = (2 * (row - change.down) - (h - 1), -2 * change.right - (w - 1));
            let mut down = 65536 * (h - 1) + change.cosine * y - change.sine * first + 256;
            let mut right = 65536 * (w - 1) + change.cosine * first + change.sine * y + 256;
            for x in x.chunks_mut(LANES * channels) {
                // From here on in 1 / 256 pixel of the framed image.
                let (mut rows, mut columns) = ([0; LANES], [0; LANES]);
                for lane in 0..LANES {
                    let steps = 2 * lane as i32;
                    rows[lane] = ((down - steps * change.sine) >> 9).clamp(-256, 256 * h) + 256;
                    columns[lane] =
                        ((right + steps * change.cosine) >> 9).clamp(-256, 256 * w) + 256;
                }
                for c in 0..channels {
                    let mut four = [[0.0; LANES]; 4];
                    for lane in 0..LANES {
                        let (row, column) = (rows[lane] >> 8, columns[lane] >> 8);
                        let at = row as usize * row_len + column as usize * channels + c;
                        let near = &framed[at..at + row_len + channels + 1];
                        four[0][lane] = near[0];
                        four[1][lane] = near[channels];
                        four[2][lane] = near[row_len];
                        four[3][lane] = near[row_len + channels];
                    }
                    let mut values = [0.0; LANES];
                    for lane in 0..LANES {
                        let (down, right) =
                            ((rows[lane] & 255) as f32, (columns[lane] & 255) as f32);
                        let above = four[0][lane] * (256.0 - right) + four[1][lane] * right;
                        let below = four[2][lane] * (256.0 - right) + four[3][lane] * right;
                        let mean = (above * (256.0 - down) + below * down) * (1.0 / 65536.0);
                        values[lane] = (mean - g.offset) / g.divisor;
                    }
                    for (x, value) in x.iter_mut().skip(c).step_by(channels).zip(values) {
                        *x = value;
                    }
                }
                down -= 2 * LANES as i32 * change.sine;
                right += 2 * LANES as i32 * change.cosine;
            }
        }
    }
}

/// Overwrites the rectangle that is erased, if one is.
fn erase(g: &Augment, image: u32, change: &Change, x: &mut [f32]) {
    let Some(erased) = change.erased else { return };
    let (row_len, channels) = (g.width() * g.channels(), g.channels());
    let mut noise = g.noise(image);
    for x in x.chunks_exact_mut(row_len).skip(erased.top).take(erased.height) {
        let x = &mut x[erased.left * channels..][..erased.width * channels];
        for (x, byte) in x.iter_mut().zip(&mut noise) {
            *x = (f32::from(byte) - g.offset) / g.divisor;
        }
    }
}
