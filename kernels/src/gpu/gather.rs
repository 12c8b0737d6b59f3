//! Picking a batch out of a resident data set: bytes in, real numbers out.

use super::dispatch::Dispatch;
use super::memory::Memory;
use crate::geometry::Gather;

const FILE: &str = "gather";

/// x\[i\] = (pixels\[order\[i\]\] - offset) / divisor: [available, image] \[N\] -> [N, image]
///
/// An entry of the order that is not less than the number of available images picks the last one.
pub fn gather(g: &Gather, pixels: &Memory, order: &Memory, x: &mut Memory) {
    check_available(g);
    Dispatch::new(FILE, "gather")
        .constant("AVAILABLE", g.available)
        .constant("IMAGES", g.images)
        .constant("IMAGE_LEN", g.image_len)
        .constant("OFFSET", g.offset)
        .constant("DIVISOR", g.divisor)
        .read(pixels)
        .read(order)
        .write(x)
        .run(x.len());
}

pub(super) fn check_available(g: &Gather) {
    assert!(g.available > 0 || g.images == 0, "{} images of an empty data set", g.images);
}

/// picked\[i\] = labels\[order\[i\]\]: \[available\] \[N\] -> \[N\]
///
/// An entry of the order that is not less than the number of available images picks the last one.
pub fn gather_labels(g: &Gather, labels: &Memory, order: &Memory, picked: &mut Memory) {
    check_available(g);
    assert_eq!(picked.offset() % 4, 0, "bytes are written to a multiple of four");
    Dispatch::new(FILE, "gather_labels")
        .constant("AVAILABLE", g.available)
        .constant("IMAGES", g.images)
        .read(labels)
        .read(order)
        .write(picked)
        .run(g.images().div_ceil(4));
}
