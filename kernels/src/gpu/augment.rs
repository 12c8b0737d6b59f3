//! Picking a batch out of a resident data set and changing it on the way.
//!
//! How an image is changed comes from f64 and libm, which shaders do not have. So the changes of
//! all images are computed here, once an epoch, and are kept on the device.

use super::dispatch::Dispatch;
use super::gather::check_available;
use super::memory::Memory;
use super::tables::Tables;
use crate::geometry::{Augment, Rectangle};
use crate::rng::purpose;
use crate::threads;

/// x\[i\] = (changed(pixels\[order\[i\]\]) - offset) / divisor:
/// [available, H, W, C] \[N\] -> [N, H, W, C]
///
/// An entry of the order that is not less than the number of available images picks the last one.
///
/// # Panics
/// If the geometry has a fault.
pub fn augment(g: &Augment, pixels: &Memory, order: &Memory, x: &mut Memory) {
    assert!(g.fault().is_none(), "{g:?}: {}", g.fault().unwrap_or_default());
    check_available(&g.gather());
    Dispatch::new("augment", "augment")
        .constant("AVAILABLE", g.available)
        .constant("IMAGES", g.images)
        .constant("HEIGHT", g.height)
        .constant("WIDTH", g.width)
        .constant("CHANNELS", g.channels)
        .constant("OFFSET", g.offset)
        .constant("DIVISOR", g.divisor)
        .constant("SEED_LOW", g.seed_low)
        .constant("SEED_HIGH", g.seed_high)
        .constant("PURPOSE", purpose::AUGMENT)
        .read(pixels)
        .read(order)
        .read(&table(g))
        .write(x)
        .word(g.epoch)
        .run(x.len());
}

/// What the shader calls a `Change`.
const CHANGE_WORDS: usize = 10;

static TABLES: Tables<Augment> = Tables::new();

/// The changes of all available images, a row each.
fn table(g: &Augment) -> Memory {
    // What the changes do not depend on must not tell two tables apart.
    let g = Augment { images: 0, offset: 0.0, divisor: 0.0, ..*g };
    TABLES.get(g, || {
        const TASK_IMAGES: usize = 512;
        let mut rows = vec![[0; CHANGE_WORDS]; g.available()];
        threads::chunks(&mut rows, TASK_IMAGES, |task, rows| {
            for (image, row) in (task * TASK_IMAGES..).zip(rows) {
                *row = change(&g, image as u32);
            }
        });
        rows
    })
}

fn change(g: &Augment, image: u32) -> [u32; CHANGE_WORDS] {
    let change = g.change(image);
    let none = Rectangle { top: 0, left: 0, height: 0, width: 0 };
    let Rectangle { top, left, height, width } = change.erased.unwrap_or(none);
    let [top, left, height, width] = [top, left, height, width].map(|side| side as u32);
    let [down, right, sine, cosine] =
        [change.down, change.right, change.sine, change.cosine].map(i32::cast_unsigned);
    // A block is for 16 bytes of an image, and the images' bytes are numbered by 32 bits.
    let noise = u32::try_from(g.first_noise_block(image)).expect("the data set fits the device");
    [change.flipped.into(), down, right, sine, cosine, top, left, height, width, noise]
}
