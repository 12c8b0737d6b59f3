//! How well preparation gives back what a photo was made from.
//!
//! Training images are made into photos: enlarged, on a larger background, noisy. A model should
//! say of the photo what it says of the image. Needs the data set and a model, so it is run by
//! hand: `TOILE_TEST_RUN=runs/latest cargo test --release --test photos -- --ignored --nocapture`

use std::path::Path;

use toile::Device;
use toile::data::Source;
use toile::predict::decode::Picture;
use toile::predict::{Background, Predictor, Prepared, prepare};

const SIDE: usize = 28;
const COUNT: usize = 2000;

/// How a photo is made from an image.
#[derive(Clone, Copy)]
struct Recipe {
    name: &'static str,
    /// The size of the enlarged image, in pixels.
    size: usize,
    /// Background on each side, at most.
    margin: usize,
    /// The brightness of the background; light ones are negated.
    level: u8,
    /// Differs from the middle to the sides by so much.
    gradient: i32,
    noise: i32,
    /// The share of photos that should be answered as their image is.
    least: f64,
}

#[rustfmt::skip]
const RECIPES: [Recipe; 7] = [
    Recipe { name: "black", size: 280, margin: 100, level: 0, gradient: 0, noise: 0, least: 0.9 },
    Recipe { name: "white", size: 280, margin: 100, level: 255, gradient: 0, noise: 0, least: 0.9 },
    Recipe { name: "white, no margin", size: 280, margin: 0, level: 255, gradient: 0, noise: 0, least: 0.9 },
    Recipe { name: "white, odd size", size: 211, margin: 60, level: 255, gradient: 0, noise: 0, least: 0.9 },
    Recipe { name: "light grey, noise", size: 300, margin: 80, level: 225, gradient: 0, noise: 8, least: 0.8 },
    Recipe { name: "dark grey, noise", size: 300, margin: 80, level: 25, gradient: 0, noise: 8, least: 0.8 },
    Recipe { name: "light grey, gradient, noise", size: 300, margin: 80, level: 225, gradient: 12, noise: 6, least: 0.7 },
];

/// Numbers that look random: the same for every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// The image's brightness between its pixels' centres, straight lines between them.
fn between(pixels: &[u8], x: f32, y: f32) -> f32 {
    let at = |x: f32, y: f32| {
        let [x, y] = [x, y].map(|v| v.clamp(0.0, SIDE as f32 - 1.0) as usize);
        f32::from(pixels[y * SIDE + x])
    };
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (right_part, low_part) = (x - left, y - top);
    let upper = at(left, top) * (1.0 - right_part) + at(left + 1.0, top) * right_part;
    let lower = at(left, top + 1.0) * (1.0 - right_part) + at(left + 1.0, top + 1.0) * right_part;
    upper * (1.0 - low_part) + lower * low_part
}

fn photo(pixels: &[u8], recipe: Recipe, dice: &mut Dice) -> Picture {
    let Recipe { size, margin, level, gradient, noise, .. } = recipe;
    let [left, right, top, bottom] = [(); 4].map(|()| dice.below(margin + 1));
    let (width, height) = (size + left + right, size + top + bottom);
    let scale = SIDE as f32 / size as f32;
    let mut luma = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let inside = (left..left + size).contains(&x) && (top..top + size).contains(&y);
            let value = match inside {
                true => {
                    let [x, y] = [x - left, y - top].map(|v| (v as f32 + 0.5) * scale);
                    between(pixels, x, y) / 255.0
                }
                false => 0.0,
            };
            let level = f32::from(level);
            let lit =
                if level < 128.0 { level + value * (255.0 - level) } else { level - value * level };
            let swing = dice.below(2 * noise as usize + 1) as i32 - noise;
            let slope = gradient * (2 * x as i32 - width as i32) / width as i32;
            luma.push((lit.round() as i32 + swing + slope).clamp(0, 255) as u8);
        }
    }
    Picture {
        width,
        height,
        luma,
        alpha: None,
        coloured: true,
        kind: "grey PNG".into(),
        animated: false,
        turned: false,
    }
}

fn labels(predictor: &Predictor, images: &[Prepared]) -> Vec<usize> {
    let rows = predictor.probabilities(&images.iter().collect::<Vec<_>>()).unwrap();
    let best = |row: &Vec<f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    rows.iter().map(best).collect()
}

#[test]
#[ignore = "needs the data set and a trained model"]
fn a_photo_is_answered_as_the_image_that_it_was_made_from() {
    let run = std::env::var("TOILE_TEST_RUN").unwrap_or("runs/latest".into());
    let predictor = Predictor::load(Path::new(&run), Device::Cpu).unwrap();
    let train = Source::locate(Path::new("fashion-mnist")).unwrap().load_train().unwrap();
    let chosen: Vec<usize> = (0..COUNT).map(|i| i * train.images.count / COUNT).collect();
    let image = |&index: &usize| train.images.image(index);
    let as_they_are =
        |pixels: &[u8]| Prepared { pixels: pixels.to_vec(), steps: String::new(), blank: false };
    let images: Vec<_> = chosen.iter().map(|index| as_they_are(image(index))).collect();
    let expected = labels(&predictor, &images);
    let right = |found: &[usize]| {
        let pairs = found.iter().zip(&chosen);
        pairs.filter(|(label, index)| **label == usize::from(train.labels[**index])).count()
    };
    println!(
        "{:<28} answered right {:.2} %",
        "images",
        100.0 * right(&expected) as f64 / COUNT as f64
    );
    for recipe in RECIPES {
        let mut dice = Dice(7);
        let prepared: Vec<_> = chosen
            .iter()
            .map(|index| photo(image(index), recipe, &mut dice))
            .map(|photo| prepare(&photo, Background::Auto, SIDE, SIDE))
            .collect();
        let found = labels(&predictor, &prepared);
        let same = found.iter().zip(&expected).filter(|(a, b)| a == b).count();
        let light = prepared.iter().filter(|p| p.steps.contains(" inverted (")).count();
        let light = light - prepared.iter().filter(|p| p.steps.contains("not inverted (")).count();
        println!(
            "{:<28} answered right {:.2} %, as the image {:.2} %, inverted {light}",
            recipe.name,
            100.0 * right(&found) as f64 / COUNT as f64,
            100.0 * same as f64 / COUNT as f64,
        );
        assert!(same as f64 >= recipe.least * COUNT as f64, "{}", recipe.name);
        let wrong_way = if recipe.level < 128 { light } else { COUNT - light };
        assert!(wrong_way <= COUNT / 500, "{}: {wrong_way} the wrong way round", recipe.name);
    }
}
