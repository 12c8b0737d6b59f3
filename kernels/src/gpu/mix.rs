//! Mixing the images of a batch with their partners.
//!
//! How they are mixed comes from f64 and libm, which shaders do not have: it is computed here and
//! handed to the device with each call.

use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::buffer::Kind;
use crate::geometry::{Mix, Rectangle};

/// mixed\[i\] = share x\[i\] + (1 - share) x\[N - 1 - i\], or x\[i\] with a rectangle of x\[N - 1 - i\];
/// shares\[i\] = the share of x\[i\]: [N, H, W, C] -> [N, H, W, C] \[N\]
///
/// # Panics
/// If the geometry has a fault.
pub fn mix(g: &Mix, x: &Memory, mixed: &mut Memory, shares: &mut Memory) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    let rows: Vec<_> = (0..g.images()).map(|image| mixture(g, image)).collect();
    let mut mixtures = Memory::unspecified(Kind::Index, MIXTURE_WORDS * rows.len());
    mixtures.copy_from(bytemuck::cast_slice(&rows));
    Dispatch::new("mix", "mix_images")
        .constant("IMAGES", g.images)
        .constant("HEIGHT", g.height)
        .constant("WIDTH", g.width)
        .constant("CHANNELS", g.channels)
        .read(x)
        .read(&mixtures)
        .write(mixed)
        .write(shares)
        .run(g.len());
}

/// What the shader calls a `Mixture`.
const MIXTURE_WORDS: usize = 6;

fn mixture(g: &Mix, image: usize) -> [u32; MIXTURE_WORDS] {
    let mixture = g.mixture(image);
    let none = Rectangle { top: 0, left: 0, height: 0, width: 0 };
    let Rectangle { top, left, height, width } = mixture.pasted.unwrap_or(none);
    let [top, left, height, width] = [top, left, height, width].map(|side| side as u32);
    let pasted = mixture.pasted.is_some().into();
    [mixture.share.to_bits(), pasted, top, left, height, width]
}
