//! Data sets that tests make up: images of noise that carry their class, as IDX files.

use std::fs;
use std::path::Path;

/// Writes the four files of a data set of 28 x 28 images: grey noise, brighter in a band that
/// stands for the class, so that there is something to learn.
pub fn write(folder: &Path, train: u32, test: u32, classes: u32) {
    fs::create_dir_all(folder).unwrap();
    for (part, count) in [("train", train), ("t10k", test)] {
        let mut images = [[0, 0, 8, 3], count.to_be_bytes(), [0, 0, 0, 28], [0, 0, 0, 28]].concat();
        let mut labels = [[0, 0, 8, 1], count.to_be_bytes()].concat();
        for image in 0..count {
            let class = image % classes;
            labels.push(class as u8);
            images.extend((0..28 * 28).map(|pixel| {
                let noise = (image * 784 + pixel).wrapping_mul(2_654_435_761) >> 25;
                let band = u32::from(pixel / 28 % classes == class) * 100;
                (noise + band) as u8
            }));
        }
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}
