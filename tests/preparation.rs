//! What becomes of an image on its way to a model: properties that hold for any content.

use proptest::prelude::*;
use toile::predict::decode::Picture;
use toile::predict::{Background, Prepared, prepare};

const SIDE: usize = 28;

fn grey(width: usize, height: usize, luma: Vec<u8>) -> Picture {
    assert_eq!(luma.len(), width * height);
    Picture {
        width,
        height,
        luma,
        alpha: None,
        coloured: false,
        kind: "grey PNG".into(),
        animated: false,
        turned: false,
    }
}

fn prepared(picture: &Picture) -> Prepared {
    prepare(picture, Background::Auto, SIDE, SIDE)
}

/// A content without gaps, 28 pixels on its longer side, on black: as the data set's images.
fn garment() -> impl Strategy<Value = Vec<u8>> {
    (4..=SIDE, any::<bool>(), prop::collection::vec(40u8..=255, SIDE * SIDE)).prop_map(
        |(shorter, upright, values)| {
            let margin = (SIDE - shorter).div_ceil(2);
            let inside = |at: usize| {
                let across = if upright { at % SIDE } else { at / SIDE };
                (margin..margin + shorter).contains(&across)
            };
            (0..SIDE * SIDE).map(|at| if inside(at) { values[at] } else { 0 }).collect()
        },
    )
}

/// Every pixel becomes a square of `factor` pixels, with `padding` pixels of black around.
fn photo(pixels: &[u8], factor: usize, padding: [usize; 4]) -> Picture {
    let [left, right, top, bottom] = padding;
    let (width, height) = (SIDE * factor + left + right, SIDE * factor + top + bottom);
    let mut luma = vec![0; width * height];
    for y in 0..SIDE * factor {
        for x in 0..SIDE * factor {
            luma[(y + top) * width + x + left] = pixels[y / factor * SIDE + x / factor];
        }
    }
    grey(width, height, luma)
}

fn negative(picture: &Picture) -> Picture {
    Picture { luma: picture.luma.iter().map(|value| 255 - value).collect(), ..picture.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_image_of_the_data_sets_kind_is_taken_as_it_is(pixels in garment()) {
        let picture = grey(SIDE, SIDE, pixels.clone());
        let kept = prepare(&picture, Background::Dark, SIDE, SIDE);
        prop_assert_eq!(&kept.pixels, &pixels);
        prop_assert_eq!(kept.steps, "28x28 grey PNG -> taken as it is");
        let inverted = prepare(&picture, Background::Light, SIDE, SIDE);
        prop_assert_eq!(inverted.pixels, negative(&picture).luma);
    }

    /// However much larger a photo is, wherever the object is, and on which background: the
    /// input is the same, and black around the object. At the input's own scale nothing is done.
    #[test]
    fn size_place_and_negation_change_nothing(
        pixels in garment(),
        factor in 1usize..12,
        padding in prop::array::uniform4(1usize..40),
    ) {
        let picture = photo(&pixels, factor, padding);
        let (dark, light) = (prepared(&picture), prepared(&negative(&picture)));
        prop_assert!(dark.steps.contains("not inverted (dark background)"));
        prop_assert!(light.steps.contains("> inverted (light background)"));
        prop_assert_eq!(&light.pixels, &dark.pixels, "{}", light.steps);
        let reduced = factor > 1;
        let same_object = if reduced { prepared(&photo(&pixels, 2, [1; 4])).pixels } else { pixels.clone() };
        prop_assert_eq!(&dark.pixels, &same_object, "{}", dark.steps);
        prop_assert_eq!(dark.steps.contains("sharpened"), reduced, "{}", dark.steps);
        prop_assert!(dark.pixels.iter().zip(&pixels).all(|(&new, &old)| old > 0 || new == 0));
    }

    /// Any picture at all gives an input and one line of words.
    #[test]
    fn anything_is_prepared(
        width in 1usize..70,
        height in 1usize..70,
        low in any::<u8>(),
        range in 0u8..=255,
        seed in any::<u64>(),
        transparent in any::<bool>(),
        background in prop::sample::select(vec![Background::Auto, Background::Dark, Background::Light]),
        side in prop::array::uniform2(24usize..=128),
    ) {
        let noise = |salt: u64| {
            let mut state = seed ^ salt;
            let next = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            std::iter::repeat_with(next).take(width * height)
        };
        let luma = noise(1).map(|value| low.saturating_add(value.min(range))).collect();
        let alpha = transparent.then(|| noise(2).collect());
        let picture = Picture { alpha, ..grey(width, height, luma) };
        let prepared = prepare(&picture, background, side[0], side[1]);
        prop_assert_eq!(prepared.pixels.len(), side[0] * side[1]);
        prop_assert!(!prepared.steps.contains('\n'), "{}", prepared.steps);
    }
}

#[test]
fn blank_images_say_so() {
    for value in [0, 1, 127, 128, 254, 255] {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (300, 200)] {
            let Prepared { pixels, steps, blank } =
                prepared(&grey(width, height, vec![value; width * height]));
            assert_eq!(pixels, [0; SIDE * SIDE], "{value}");
            assert!(blank && steps.contains("nothing stands out, so not cropped"), "{steps}");
        }
    }
}

/// A negative of one of the data set's images, at the data set's size.
#[test]
fn a_light_border_is_inverted_at_the_inputs_size_too() {
    let square = |at: usize| (8..20).contains(&(at % SIDE)) && (8..20).contains(&(at / SIDE));
    let luma = (0..SIDE * SIDE).map(|at| if square(at) { 30 } else { 255 }).collect();
    let Prepared { pixels, steps, .. } = prepared(&grey(SIDE, SIDE, luma));
    assert_eq!((pixels[0], pixels[10 * SIDE + 10]), (0, 225));
    assert_eq!(steps, "28x28 grey PNG -> inverted (light background)");
}

/// A rectangle of `value` on a background, with every pixel's noise at most `noise`.
fn scene(width: usize, height: usize, level: u8, value: u8, noise: u8) -> Picture {
    let luma = (0..width * height).map(|at| {
        let (x, y) = (at % width, at / width);
        let inside =
            (width / 4..width / 2).contains(&x) && (height / 4..height * 3 / 4).contains(&y);
        let swing = (at.wrapping_mul(2_654_435_761) >> 7) % (2 * usize::from(noise) + 1);
        let value = usize::from(if inside { value } else { level });
        (value + swing).saturating_sub(usize::from(noise)).min(255) as u8
    });
    grey(width, height, luma.collect())
}

#[test]
fn the_sentence_tells_all_steps() {
    let mut picture = scene(640, 480, 240, 60, 0);
    picture.coloured = true;
    picture.kind = "RGB JPEG".into();
    picture.turned = true;
    picture.animated = true;
    let expected = "640x480 RGB JPEG -> first frame, turned upright, grey, inverted (light \
                    background), cropped to 160x240, sharpened, centred in 28x28";
    assert_eq!(prepared(&picture).steps, expected);
}

#[test]
fn noise_and_little_contrast_leave_the_crop_where_it_is() {
    for (level, value, noise) in
        [(230, 90, 12), (20, 200, 12), (128, 104, 0), (120, 150, 2), (200, 250, 4)]
    {
        let steps = prepared(&scene(400, 300, level, value, noise)).steps;
        assert!(steps.contains("cropped to 100x150"), "{level} {value} {noise}: {steps}");
        let inverted = !steps.contains("not inverted");
        assert_eq!(inverted, value < level, "{level} {value}: {steps}");
    }
}

/// On a background of any grey the object is the same: that background is black.
#[test]
fn the_background_becomes_black() {
    for level in [10, 60, 200, 245] {
        let pixels = prepared(&scene(280, 280, level, 128, 0)).pixels;
        assert_eq!(pixels[0], 0, "{level}");
        assert!(pixels[14 * SIDE + 14] > 80, "{level}: {}", pixels[14 * SIDE + 14]);
    }
}

#[test]
fn the_user_can_overrule() {
    let picture = scene(100, 100, 240, 20, 0);
    let dark = prepare(&picture, Background::Dark, SIDE, SIDE);
    assert!(dark.steps.contains("not inverted (told that"), "{}", dark.steps);
    assert!(dark.blank, "nothing is lighter than the background");
    let light = prepare(&picture, Background::Light, SIDE, SIDE);
    assert!(light.steps.contains("inverted (told that") && !light.blank, "{}", light.steps);
}

/// Dark things are laid over white and light ones over black: either way they can be seen.
#[test]
fn transparency_shows_the_content() {
    for (value, laid) in [(0, "laid over white"), (40, "laid over white"), (255, "laid over black")]
    {
        let mut picture = scene(60, 60, 0, 255, 0);
        picture.alpha = Some(picture.luma.clone());
        picture.luma = vec![value; 3600];
        let Prepared { pixels, steps, .. } = prepared(&picture);
        assert!(steps.contains(laid) && steps.contains("cropped to 15x30"), "{steps}");
        assert!(pixels[14 * SIDE + 14] >= 215, "{value}: {}", pixels[14 * SIDE + 14]);
        assert_eq!(pixels[0], 0);
    }
}

/// The edge between two halves of an object becomes steeper; an object that was made larger stays
/// as it is.
#[test]
fn only_what_was_made_smaller_is_sharpened() {
    let halves = |side: usize| {
        let (size, inner) = (side + 10, 5..side + 5);
        let value = |x: usize| if x < 5 + side / 2 { 80 } else { 160 };
        let luma = (0..size * size).map(|at| match (at % size, at / size) {
            (x, y) if inner.contains(&x) && inner.contains(&y) => value(x),
            _ => 0,
        });
        prepared(&grey(size, size, luma.collect()))
    };
    let (large, small) = (halves(280), halves(14));
    let row = |prepared: &Prepared| prepared.pixels[14 * SIDE..][12..16].to_vec();
    // A neighbour on the right has a share of 0.344388 in the mean, with its corners.
    assert_eq!(row(&large), [80, 80 - 28, 160 + 28, 160], "{}", large.steps);
    assert_eq!(row(&small), [80, 80, 160, 160], "{}", small.steps);
    assert!(large.steps.contains("sharpened") && !small.steps.contains("sharpened"));
}

/// One pixel of margin more on the left and at the top, as in the data set.
#[test]
fn the_content_is_centred_as_the_data_set_is() {
    // 3 by 28 pixels: 12 and a half free on both sides.
    let mut luma = vec![0; 50 * 50];
    (10..38).for_each(|y| luma[y * 50 + 20..][..3].fill(200));
    let pixels = prepared(&grey(50, 50, luma)).pixels;
    let row: Vec<usize> = (0..SIDE).filter(|&x| pixels[14 * SIDE + x] > 0).collect();
    assert_eq!(row, [13, 14, 15]);
}
