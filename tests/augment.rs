//! What augmentation does to images, seen from outside: each change alone, by properties.

mod chance;

use chance::check_binomial;
use toile::ops::augment::{Augmentation, Flip};
use toile::ops::gather::{Normalization, Resident};
use toile::{Buffer, Device, Shape};
use toile_kernels::rng::Stream;

const SIDE: usize = 28;
const BYTES: Normalization = Normalization { offset: 0.0, divisor: 1.0 };

/// Images of one channel on the device.
fn resident(images: &[Vec<u8>], shape: [usize; 3]) -> Resident {
    Resident {
        pixels: Buffer::from_slice(Device::Cpu, &images.concat()),
        labels: Buffer::from_slice(Device::Cpu, &vec![3u8; images.len()]),
        image: Shape::new(&shape),
    }
}

/// `count` times the same image.
fn copies(image: &[u8], count: usize) -> Resident {
    resident(&vec![image.to_vec(); count], [SIDE, SIDE, 1])
}

/// Bytes of noise above 0.
fn noise(len: usize) -> Vec<u8> {
    let stream = Stream { seed: 3, purpose: 1, step: 0 };
    (0..len as u64).map(|i| (stream.word(i) % 255 + 1) as u8).collect()
}

fn all(resident: &Resident) -> Buffer {
    let order: Vec<u32> = (0..resident.labels.len() as u32).collect();
    Buffer::from_slice(Device::Cpu, &order)
}

/// All images as they are shown in an epoch.
fn shown(resident: &Resident, augmentation: &Augmentation, epoch: u32) -> Vec<Vec<f32>> {
    let (x, _) = resident.augmented_batch(&all(resident), BYTES, augmentation, 9, epoch);
    x.to_vec::<f32>().chunks(resident.image.len()).map(<[f32]>::to_vec).collect()
}

fn floats(image: &[u8]) -> Vec<f32> {
    image.iter().map(|&byte| byte.into()).collect()
}

/// Left and right swapped, pixels of `channels` numbers.
fn mirrored(image: &[f32], width: usize, channels: usize) -> Vec<f32> {
    let rows = image.chunks(width * channels);
    rows.flat_map(|row| row.chunks(channels).rev().flatten().copied()).collect()
}

#[test]
fn without_changes_it_is_the_plain_batch() {
    let images = [noise(SIDE * SIDE), noise(2 * SIDE * SIDE)[SIDE * SIDE..].to_vec()];
    let resident = resident(&images, [SIDE, SIDE, 1]);
    let order = Buffer::from_slice(Device::Cpu, &[1u32, 0, 1, 1]);
    let normalization = Normalization { offset: 72.94, divisor: 90.02 };
    let (plain, plain_labels) = resident.batch(&order, normalization);
    let bits =
        |x: &toile::Tensor| x.to_vec::<f32>().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    // The second asks for turns of up to 1e-30 degrees: the kernel runs, and changes nothing.
    for rotation in [0.0, 1e-30] {
        let none = Augmentation { rotation, ..Augmentation::default() };
        assert_eq!(none.is_none(), rotation == 0.0);
        let (x, labels) = resident.augmented_batch(&order, normalization, &none, 5, 7);
        assert_eq!(bits(&x), bits(&plain));
        assert_eq!(labels.to_vec::<u8>(), plain_labels.to_vec::<u8>());
    }
}

#[test]
fn half_of_the_images_are_flipped_and_two_flips_are_none() {
    let (shape, count) = ([3, 5, 2], 4000);
    let image = noise(30);
    let once = resident(&vec![image.clone(); count], shape);
    let flip = Augmentation { flip: Flip::Random, ..Default::default() };
    let (plain, flipped) = (floats(&image), mirrored(&floats(&image), 5, 2));
    let first = shown(&once, &flip, 0);
    assert!(first.iter().all(|x| *x == plain || *x == flipped));
    check_binomial(first.iter().filter(|x| **x == flipped).count(), count, 0.5);
    let bytes = |x: &Vec<f32>| x.iter().map(|&x| x as u8).collect::<Vec<_>>();
    let twice = resident(&first.iter().map(bytes).collect::<Vec<_>>(), shape);
    assert!(shown(&twice, &flip, 0).iter().all(|x| *x == plain));
    let changed = shown(&once, &flip, 1).iter().zip(&first).filter(|(a, b)| a != b).count();
    check_binomial(changed, count, 0.5);
}

#[test]
fn alternating_flips_show_each_image_both_ways_in_two_epochs() {
    let (image, count) = (noise(SIDE * SIDE), 2000);
    let (plain, flipped) = (floats(&image), mirrored(&floats(&image), SIDE, 1));
    let resident = copies(&image, count);
    let flip = Augmentation { flip: Flip::Alternating, ..Default::default() };
    let epochs: Vec<_> = (0..4).map(|epoch| shown(&resident, &flip, epoch)).collect();
    let is_flipped = |x: &Vec<f32>| *x == flipped;
    check_binomial(epochs[0].iter().filter(|x| is_flipped(x)).count(), count, 0.5);
    for i in 0..count {
        assert!(epochs.iter().all(|epoch| epoch[i] == plain || epoch[i] == flipped));
        let ways: Vec<_> = epochs.iter().map(|epoch| is_flipped(&epoch[i])).collect();
        assert!(ways[0] != ways[1] && ways[0] == ways[2] && ways[1] == ways[3], "{ways:?}");
    }
}

/// Every move of 7 by 7 comes equally often, and moves the picture and nothing else.
#[test]
fn shifts_are_uniform() {
    let (image, count) = (floats(&noise(SIDE * SIDE)), 20_000);
    let resident = copies(&noise(SIDE * SIDE), count);
    let moved = |down: i32, right: i32| -> Vec<f32> {
        let from = |i: usize| {
            let (row, column) = ((i / SIDE) as i32 - down, (i % SIDE) as i32 - right);
            let inside = (0..28).contains(&row) && (0..28).contains(&column);
            if inside { image[row as usize * SIDE + column as usize] } else { 0.0 }
        };
        (0..SIDE * SIDE).map(from).collect()
    };
    let moves: Vec<_> = (0..49).map(|i| moved(i / 7 - 3, i % 7 - 3)).collect();
    let mut seen = [0; 49];
    for x in shown(&resident, &Augmentation { shift: 3, ..Default::default() }, 2) {
        seen[moves.iter().position(|moved| *moved == x).expect("a move of at most 3")] += 1;
    }
    seen.iter().for_each(|&seen| check_binomial(seen, count, 1.0 / 49.0));
}

/// A round spot right of the centre goes around it: its centre of mass says by which angle, and
/// angles are uniform. The spot keeps its distance and its brightness.
#[test]
fn rotations_turn_about_the_centre_and_are_uniform() {
    let spot = |i: usize| {
        let (y, x) = ((i / SIDE) as f64 - 13.5, (i % SIDE) as f64 - 21.5);
        (250.0 * (-(y * y + x * x) / 4.0).exp()).round() as u8
    };
    let image: Vec<u8> = (0..SIDE * SIDE).map(spot).collect();
    let brightness: f64 = image.iter().map(|&byte| f64::from(byte)).sum();
    let (count, most) = (4000, 40.0);
    let augmentation = Augmentation { rotation: most, ..Default::default() };
    let angle = |x: &Vec<f32>| {
        let weighted = |place: fn(usize) -> f64| -> f64 {
            x.iter().enumerate().map(|(i, &x)| f64::from(x) * (place(i) - 13.5)).sum()
        };
        let (y, x_sum) = (weighted(|i| (i / SIDE) as f64), weighted(|i| (i % SIDE) as f64));
        let sum: f64 = x.iter().map(|&x| f64::from(x)).sum();
        assert!((sum / brightness - 1.0).abs() < 0.01, "brightness {sum} of {brightness}");
        assert!(((y / sum).hypot(x_sum / sum) - 8.0).abs() < 0.05, "{y} {x_sum}");
        y.atan2(x_sum).to_degrees()
    };
    let angles: Vec<_> =
        shown(&copies(&image, count), &augmentation, 0).iter().map(angle).collect();
    assert!(angles.iter().all(|angle| angle.abs() < most + 0.2));
    for tenth in 0..10 {
        let from = most * (f64::from(tenth) / 5.0 - 1.0);
        let within = angles.iter().filter(|&&a| (from..from + most / 5.0).contains(&a)).count();
        check_binomial(within, count, 0.1);
    }
}

/// A spot right of the centre is where the image's turn and then its move take it.
#[test]
fn turns_are_clockwise_and_moves_come_after_them() {
    let mut image = vec![0; SIDE * SIDE];
    image[14 * SIDE + 22] = 255;
    let resident = copies(&image, 500);
    let augmentation = Augmentation { shift: 5, rotation: 30.0, ..Default::default() };
    let g = toile_kernels::geometry::Augment {
        images: 500,
        available: 500,
        height: 28,
        width: 28,
        channels: 1,
        seed_low: 9,
        seed_high: 0,
        epoch: 4,
        flip: 0,
        shift: 5,
        rotation: 30.0,
        erasing: 0.0,
        offset: 0.0,
        divisor: 1.0,
    };
    for (image, x) in (0..).zip(shown(&resident, &augmentation, 4)) {
        let change = g.change(image);
        let (sine, cosine) = (f64::from(change.sine), f64::from(change.cosine));
        let (sine, cosine) = (sine / 65536.0, cosine / 65536.0);
        // Rows grow downwards: from right of the centre, clockwise is down.
        let row = 0.5 * cosine + 8.5 * sine + 13.5 + f64::from(change.down);
        let column = 8.5 * cosine - 0.5 * sine + 13.5 + f64::from(change.right);
        for (i, &x) in x.iter().enumerate().filter(|(_, x)| **x > 0.0) {
            let (y, away) = ((i / SIDE) as f64 - row, (i % SIDE) as f64 - column);
            assert!(y.hypot(away) < 1.5, "{x} at {i}, expected near {row}, {column}");
        }
        assert!(!(0.0..27.0).contains(&column) || x.iter().any(|&x| x > 50.0));
    }
}

/// A rectangle within the limits of the paper, filled with bytes whose mean is that of all bytes;
/// places are covered alike, and the images that keep theirs are as many as asked for.
#[test]
fn erased_rectangles_are_within_limits() {
    let (image, count) = (vec![0; SIDE * SIDE], 8000);
    let augmentation = Augmentation { erasing: 0.5, ..Default::default() };
    let (mut erased, mut pixels, mut sum, mut left_half) = (0, 0, 0.0, 0);
    let (mut smallest, mut largest, mut tall) = (1.0f64, 0.0f64, 0);
    for x in shown(&copies(&image, count), &augmentation, 0) {
        let places: Vec<_> = (0..x.len()).filter(|&i| x[i] != 0.0).collect();
        if places.is_empty() {
            continue;
        }
        let span = |place: fn(usize) -> usize| {
            let places = || places.iter().map(|&i| place(i));
            (places().min().unwrap(), places().max().unwrap() + 1)
        };
        let ((top, bottom), (left, right)) = (span(|i| i / SIDE), span(|i| i % SIDE));
        let area = (bottom - top) * (right - left);
        // One byte in 256 of the filling is 0; all else within the rectangle is filled.
        assert!(places.len() as f64 > 0.7 * area as f64, "{} of {area}", places.len());
        let share = area as f64 / 784.0;
        (smallest, largest) = (smallest.min(share), largest.max(share));
        let aspect = (bottom - top) as f64 / (right - left) as f64;
        assert!((0.2..5.0).contains(&aspect), "{aspect}");
        tall += usize::from(bottom - top > right - left);
        erased += 1;
        pixels += area;
        sum += x.iter().map(|&x| f64::from(x)).sum::<f64>();
        left_half += usize::from(left + right < SIDE);
    }
    check_binomial(erased, count, 0.5);
    assert!((0.01..0.03).contains(&smallest) && (0.24..0.27).contains(&largest));
    let mean_share = pixels as f64 / erased as f64 / 784.0;
    assert!((mean_share - 0.135).abs() < 0.004, "mean share {mean_share}");
    assert!((sum / pixels as f64 - 127.5).abs() < 0.5, "mean byte {}", sum / pixels as f64);
    assert!(tall * 5 > erased * 2 && tall * 5 < erased * 3, "{tall} of {erased} are tall");
    assert!(left_half * 5 > erased * 2 && left_half * 5 < erased * 3, "{left_half} of {erased}");
}

/// What an image becomes depends on its number, and not on where and beside whom it is picked.
#[test]
fn the_batch_does_not_matter() {
    let resident = copies(&noise(SIDE * SIDE), 40);
    let augmentation = Augmentation { flip: Flip::Random, shift: 2, rotation: 15.0, erasing: 0.5 };
    let together = shown(&resident, &augmentation, 3);
    for i in (0..40).rev() {
        let order = Buffer::from_slice(Device::Cpu, &[i as u32, 7]);
        let (x, _) = resident.augmented_batch(&order, BYTES, &augmentation, 9, 3);
        assert_eq!(x.to_vec::<f32>()[..784], together[i]);
        assert_eq!(x.to_vec::<f32>()[784..], together[7]);
    }
    let different = together.iter().filter(|x| **x != together[0]).count();
    assert_eq!(different, 39, "each image has changes of its own");
}

#[test]
fn faults_are_found() {
    let image = Shape::new(&[SIDE, 20, 1]);
    let fault = |augmentation: Augmentation| augmentation.fault(image).unwrap_or_default();
    let none = Augmentation::default();
    assert_eq!(none.fault(image), None);
    assert!(fault(Augmentation { shift: 20, ..none }).contains("shift"));
    assert!(fault(Augmentation { rotation: 181.0, ..none }).contains("rotation"));
    assert!(fault(Augmentation { rotation: f64::NAN, ..none }).contains("rotation"));
    assert!(fault(Augmentation { erasing: 1.5, ..none }).contains("erasing"));
    assert!(none.fault(Shape::new(&[5000, 1, 1])).unwrap().contains("4096"));
}
