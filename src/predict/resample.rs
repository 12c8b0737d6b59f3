//! Another size for a grey image: each new pixel is the mean of the area that it covers.
//!
//! The areas are whole numbers on a grid that both sizes divide, so there is nothing to round
//! but the mean itself: an image enlarged by whole factors comes back as it was.

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The part `area` of an image that is `stride` pixels wide, with `width` by `height` pixels.
pub(super) fn resample(
    pixels: &[u8],
    stride: usize,
    area: Area,
    width: usize,
    height: usize,
) -> Vec<u8> {
    let columns = shares(area.width, width);
    let rows = shares(area.height, height);
    let mut sums = vec![0u64; width * height];
    let mut line = vec![0u64; width];
    for (y, row_shares) in rows.iter().enumerate() {
        let start = (area.top + y) * stride + area.left;
        line.fill(0);
        for (&pixel, column_shares) in pixels[start..][..area.width].iter().zip(&columns) {
            for &(x, share) in column_shares {
                line[x] += share * u64::from(pixel);
            }
        }
        for &(row, share) in row_shares {
            for (sum, value) in sums[row * width..][..width].iter_mut().zip(&line) {
                *sum += share * value;
            }
        }
    }
    let whole = area.width as u64 * area.height as u64;
    sums.iter().map(|sum| ((sum + whole / 2) / whole) as u8).collect()
}

/// For each of `from` pixels in a row, which of `to` pixels it lies in, and how long the common
/// part is. A new pixel is `from` long and an old one `to`, so the parts of a new pixel add up
/// to `from`.
fn shares(from: usize, to: usize) -> Vec<Vec<(usize, u64)>> {
    let share = |old: usize, new: usize| {
        let end = ((old + 1) * to).min((new + 1) * from);
        (new, (end - (old * to).max(new * from)) as u64)
    };
    let reached = |old: usize| old * to / from..((old + 1) * to).div_ceil(from);
    (0..from).map(|old| reached(old).map(|new| share(old, new)).collect()).collect()
}
