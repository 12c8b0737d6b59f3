//! The sharpening that Fashion-MNIST's images went through after they were made small.
//!
//! The makers of the data set name a Gaussian operator with a radius and a standard deviation of
//! 1.0 (section 2 of arXiv:1708.07747). In ImageMagick, whose `-sharpen 1x1` this describes, that
//! is twice the pixel less the mean `m` of its eight neighbours, weighted by a Gaussian of their
//! distance: `x + (x - m)`. Nothing is left to choose.

/// exp(-d^2 / 2) for the distances 1 and sqrt(2) of the neighbours, above, beside and below.
const SIDE: f64 = 0.606_530_659_712_633_4;
const CORNER: f64 = 0.367_879_441_171_442_33;
const WEIGHTS: [[f64; 3]; 3] = [[CORNER, SIDE, CORNER], [SIDE, 0.0, SIDE], [CORNER, SIDE, CORNER]];

/// A grey image of the same size with more contrast at its edges. Beyond its border, the image
/// goes on as its outermost pixels.
pub(super) fn sharpen(pixels: &[u8], width: usize) -> Vec<u8> {
    let height = pixels.len() / width;
    let around = |at: usize, length: usize| [at.saturating_sub(1), at, (at + 1).min(length - 1)];
    let sharpened = |at: usize| {
        let (columns, rows) = (around(at % width, width), around(at / width, height));
        let mut sum = 0.0;
        for (y, weights) in rows.into_iter().zip(WEIGHTS) {
            for (x, weight) in columns.into_iter().zip(weights) {
                sum += weight * f64::from(pixels[y * width + x]);
            }
        }
        let mean = sum / (4.0 * (SIDE + CORNER));
        // The conversion keeps what would leave the range at its ends.
        (2.0 * f64::from(pixels[at]) - mean).round() as u8
    };
    (0..pixels.len()).map(sharpened).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same on a copy with a margin, weights computed, no neighbour treated specially.
    fn reference(pixels: &[u8], width: usize) -> Vec<f64> {
        let height = pixels.len() / width;
        let mut wide = vec![vec![0.0; width + 2]; height + 2];
        for (y, row) in wide.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let (x, y) = (x.clamp(1, width) - 1, y.clamp(1, height) - 1);
                *value = f64::from(pixels[y * width + x]);
            }
        }
        let mut sharp = Vec::new();
        for y in 1..=height {
            for x in 1..=width {
                let (mut sum, mut weights) = (0.0, 0.0);
                for (dx, dy) in (0..9).map(|i| (i % 3, i / 3)).filter(|&d| d != (1, 1)) {
                    let distance = (dx as f64 - 1.0).hypot(dy as f64 - 1.0);
                    let weight = (-distance * distance / 2.0).exp();
                    sum += weight * wide[y + dy - 1][x + dx - 1];
                    weights += weight;
                }
                sharp.push((2.0 * wide[y][x] - sum / weights).clamp(0.0, 255.0));
            }
        }
        sharp
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_formula(
            width in 1usize..9,
            height in 1usize..9,
            values in prop::collection::vec(any::<u8>(), 64),
        ) {
            let pixels = &values[..width * height];
            for (found, exact) in sharpen(pixels, width).into_iter().zip(reference(pixels, width)) {
                prop_assert!((f64::from(found) - exact).abs() <= 0.500_001, "{found} for {exact}");
            }
        }
    }

    /// The neighbours' shares are 0.155612 beside and 0.094388 at the corners: 50 away from the
    /// rest of the image, that is 7.78 and 4.72.
    #[test]
    fn a_dot_stands_out_more() {
        let mut pixels = [50; 25];
        pixels[12] = 100;
        #[rustfmt::skip]
        let expected = [
            50, 50,  50, 50, 50,
            50, 45,  42, 45, 50,
            50, 42, 150, 42, 50,
            50, 45,  42, 45, 50,
            50, 50,  50, 50, 50,
        ];
        assert_eq!(sharpen(&pixels, 5), expected);
    }

    #[test]
    fn flat_areas_stay_and_nothing_leaves_the_range() {
        for value in 0..=255 {
            for (width, height) in [(1, 1), (1, 5), (5, 1), (4, 4)] {
                let flat = vec![value; width * height];
                assert_eq!(sharpen(&flat, width), flat);
            }
        }
        let step = [0, 0, 255, 255].repeat(4);
        assert_eq!(sharpen(&step, 4), step);
    }
}
