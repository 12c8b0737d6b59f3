//! Mixed batches, seen from outside: the distribution of the shares, which pixels come from where,
//! and that targets are mixed like images.

mod chance;

use chance::check_binomial;
use toile::ops::mix::Mix;
use toile::ops::targets::soft_targets;
use toile::{Buffer, Device, Shape, Tensor};

/// Images of which each pixel is its place in the batch.
fn numbered(shape: [usize; 4]) -> Tensor {
    let len: usize = shape[1..].iter().product();
    let values: Vec<f32> = (0..shape[0] * len).map(|i| (i / len) as f32).collect();
    Tensor::new(Device::Cpu, Shape::new(&shape), &values)
}

fn shares(count: usize, alpha: f32, step: u32) -> Vec<f64> {
    let (_, shares) = numbered([count, 1, 1, 1]).mixed(Mix::Mixup, alpha, 5, step);
    shares.to_vec()
}

/// The moments of Beta(a, a) by formula: mean 1 / 2, variance 1 / (4 (2 a + 1)), fourth central
/// moment 3 / (16 (2 a + 1) (2 a + 3)); and how many are below three places by
/// `mpmath.betainc(a, a, 0, x, regularized=True)`.
#[test]
fn shares_are_from_the_beta_distribution() {
    let below = [
        (0.2, [(0.01, 0.209777690068), (0.1, 0.33668977843), (0.3, 0.433204184376)]),
        (1.0, [(0.01, 0.01), (0.1, 0.1), (0.3, 0.3)]),
        (4.0, [(0.1, 0.002728), (0.2, 0.033344), (0.3, 0.126036)]),
    ];
    let count = 100_000;
    for (alpha, below) in below {
        let shares = shares(count, alpha, 3);
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        let moment = |power: i32| {
            shares.iter().map(|share| (share - 0.5).powi(power)).sum::<f64>() / count as f64
        };
        let a = f64::from(alpha);
        let variance = 1.0 / (4.0 * (2.0 * a + 1.0));
        let fourth = 3.0 / (16.0 * (2.0 * a + 1.0) * (2.0 * a + 3.0));
        // Five standard deviations of the mean, and of the mean square.
        let near = |found: f64, expected: f64, spread: f64| {
            let error = 5.0 * (spread / count as f64).sqrt();
            assert!((found - expected).abs() < error, "{alpha}: {found}, expected {expected}");
        };
        near(moment(1), 0.0, variance);
        near(moment(2), variance, fourth - variance * variance);
        for (place, p) in below {
            check_binomial(shares.iter().filter(|share| **share < place).count(), count, p);
            check_binomial(shares.iter().filter(|share| **share > 1.0 - place).count(), count, p);
        }
    }
}

/// Each image and each step has a draw of its own, and the same step has the same.
#[test]
fn draws_are_independent_and_come_again() {
    let [first, again, next] = [3, 3, 4].map(|step| shares(2000, 1.0, step));
    assert_eq!(first, again);
    for (other, what) in [(&next[..], "the next step"), (&first[1..], "the next image")] {
        let covariance = |(a, b): (&f64, &f64)| (a - 0.5) * (b - 0.5);
        let correlation = first.iter().zip(other).map(covariance).sum::<f64>() * 12.0 / 2000.0;
        assert!(correlation.abs() < 5.0 / 2000f64.sqrt(), "{correlation} with {what}");
    }
}

/// Pixel by pixel a mean of image and partner, the middle image with itself.
#[test]
fn mixup_is_a_weighted_mean() {
    let (mixed, shares) = numbered([5, 4, 3, 2]).mixed(Mix::Mixup, 0.4, 1, 0);
    let shares: Vec<f64> = shares.to_vec();
    for (i, image) in mixed.to_vec::<f64>().chunks(24).enumerate() {
        let expected = shares[i] * i as f64 + (1.0 - shares[i]) * (4 - i) as f64;
        assert!(image.iter().all(|x| (x - expected).abs() < 1e-6), "{i}: {image:?}");
    }
}

/// A rectangle of the partner, whose area is what the share says; its middle is anywhere, and its
/// sides are those that a share from the uniform distribution asks for.
#[test]
fn cutmix_pastes_a_rectangle_of_the_partner() {
    let (count, side) = (4000, 28);
    let (mixed, shares) = numbered([count, side, side, 1]).mixed(Mix::Cutmix, 1.0, 1, 7);
    let shares: Vec<f64> = shares.to_vec();
    let (mut middle, mut covered) = (0, 0);
    for (i, image) in mixed.to_vec::<f32>().chunks(side * side).enumerate() {
        let (own, partner) = (i as f32, (count - 1 - i) as f32);
        assert!(image.iter().all(|&x| x == own || x == partner));
        let places: Vec<_> = (0..image.len()).filter(|&j| image[j] == partner).collect();
        assert!((shares[i] - (1.0 - places.len() as f64 / 784.0)).abs() < 1e-6);
        middle += usize::from(image[14 * side + 14] == partner);
        covered += places.len();
        let Some((first, last)) = places.first().zip(places.last()) else { continue };
        let [height, width] = [last / side - first / side, last % side - first % side];
        assert_eq!(places.len(), (height + 1) * (width + 1), "a rectangle");
    }
    // The side's share of the image's is the root of a uniform number, rounded down to 2 h pixels
    // of 28; the centre is each of 28 equally often.
    let (mut expected_middle, mut expected_cover) = (0.0, 0.0);
    for h in 0..14 {
        let p = f64::from((2 * h + 2) * (2 * h + 2) - 4 * h * h) / 784.0;
        let spans = || (0..28i32).map(|centre| ((centre - h).max(0), (centre + h).min(28)));
        let middles = spans().filter(|(first, end)| (*first..*end).contains(&14)).count();
        let cover: i32 = spans().map(|(first, end)| end - first).sum();
        expected_middle += p * (middles as f64 / 28.0).powi(2);
        expected_cover += p * (f64::from(cover) / 784.0).powi(2);
    }
    check_binomial(middle, count, expected_middle);
    let cover = covered as f64 / (count * 784) as f64;
    // Five standard deviations, of which one image's is at most a half.
    assert!((cover - expected_cover).abs() < 2.5 / (count as f64).sqrt(), "{cover}");
}

#[test]
fn targets_are_mixed_like_images() {
    let labels = Buffer::from_slice(Device::Cpu, &[2u8, 0, 1]);
    let (_, shares) = numbered([3, 2, 2, 1]).mixed(Mix::Mixup, 1.0, 8, 0);
    let rows: Vec<f64> = soft_targets(&labels, 4, 0.2, Some(&shares)).to_vec();
    let shares: Vec<f64> = shares.to_vec();
    let smooth = |label: usize, k: usize| if k == label { 0.85 } else { 0.05 };
    let labels = [2, 0, 1];
    for (i, row) in rows.chunks(4).enumerate() {
        for (k, found) in row.iter().enumerate() {
            let (own, other) = (smooth(labels[i], k), smooth(labels[2 - i], k));
            let expected = shares[i] * own + (1.0 - shares[i]) * other;
            assert!((found - expected).abs() < 1e-7, "{i}, {k}: {found}, expected {expected}");
        }
    }
}
