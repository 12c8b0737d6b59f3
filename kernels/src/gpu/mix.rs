//! Mixing the images of a batch with their partners.
//!
//! How they are mixed comes from f64 and libm, which shaders do not have: it is computed here for
//! many steps at once and kept on the device.

use super::dispatch::Dispatch;
use super::memory::Memory;
use super::tables::Tables;
use crate::geometry::{Mix, Rectangle};

/// mixed\[i\] = share x\[i\] + (1 - share) x\[N - 1 - i\], or x\[i\] with a rectangle of x\[N - 1 - i\];
/// shares\[i\] = the share of x\[i\]: [N, H, W, C] -> [N, H, W, C] \[N\]
///
/// # Panics
/// If the geometry has a fault.
pub fn mix(g: &Mix, x: &Memory, mixed: &mut Memory, shares: &mut Memory) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    let (mixtures, first) = table(g);
    Dispatch::new("mix", "mix_images")
        .constant("IMAGES", g.images)
        .constant("HEIGHT", g.height)
        .constant("WIDTH", g.width)
        .constant("CHANNELS", g.channels)
        .read(x)
        .read(&mixtures)
        .write(mixed)
        .write(shares)
        .word(first)
        .run(g.len());
}

/// What the shader calls a `Mixture`.
const MIXTURE_WORDS: usize = 6;

/// Rows of a table, where a step has no more of its own: of 64 steps at a batch size of 128.
const TABLE_ROWS: u32 = 8192;

static TABLES: Tables<Mix> = Tables::new();

/// The mixtures of the step and of those beside it, a row an image; and the step's first row.
fn table(g: &Mix) -> (Memory, u32) {
    // An epoch's last batch may be smaller than the others and shares their table.
    let images = g.images.next_power_of_two();
    let steps = (TABLE_ROWS / images).max(1);
    let (first_step, place) = (g.step / steps * steps, g.step % steps);
    let step = |place: u32| Mix { images, step: first_step + place, ..*g };
    let table = TABLES.get(step(0), || {
        let images = 0..images as usize;
        let rows = |place| images.clone().map(move |image| mixture(&step(place), image));
        (0..steps).flat_map(rows).collect()
    });
    (table, place * images)
}

fn mixture(g: &Mix, image: usize) -> [u32; MIXTURE_WORDS] {
    let mixture = g.mixture(image);
    let none = Rectangle { top: 0, left: 0, height: 0, width: 0 };
    let Rectangle { top, left, height, width } = mixture.pasted.unwrap_or(none);
    let [top, left, height, width] = [top, left, height, width].map(|side| side as u32);
    let pasted = mixture.pasted.is_some().into();
    [mixture.share.to_bits(), pasted, top, left, height, width]
}
