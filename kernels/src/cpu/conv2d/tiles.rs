//! From images to the frequencies of their tiles and back.
//!
//! A tile is the square of T by T input pixels behind M by M output pixels; neighbouring tiles
//! overlap by two pixels. Vectors run across channels, so a tile is T times T vectors a block
//! of 16 channels, and no number ever crosses a lane.

use super::forms::{Line, Through, both_ways};
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::geometry::Conv2d;

/// How the images of a convolution are cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// M, output pixels of a tile in each direction: 2 or 4.
    pub outputs: usize,
    /// Rows of tiles of an image.
    pub rows: usize,
    /// Columns of tiles of an image.
    pub columns: usize,
}

impl Tiling {
    /// Tiles that cover the output of `g`, the last ones with pixels to spare.
    pub fn of(g: &Conv2d, outputs: usize) -> Tiling {
        let cover = |size: usize| size.div_ceil(outputs);
        Tiling { outputs, rows: cover(g.out_height()), columns: cover(g.out_width()) }
    }

    /// T = M + 2
    pub fn inputs(self) -> usize {
        self.outputs + 2
    }

    /// T times T.
    pub fn frequencies(self) -> usize {
        self.inputs() * self.inputs()
    }

    /// Tiles of an image.
    pub fn tiles(self) -> usize {
        self.rows * self.columns
    }

    /// Height and width of the output that the tiles cover.
    pub fn output_size(self) -> [usize; 2] {
        [self.rows * self.outputs, self.columns * self.outputs]
    }

    /// Height and width of the input that the tiles cover.
    pub fn input_size(self) -> [usize; 2] {
        self.output_size().map(|size| size + 2)
    }
}

/// Where the frequencies of some tiles lie: [frequency][block of 16 channels][tile][16].
#[derive(Clone, Copy)]
pub(super) struct Spectrum {
    pub frequencies: usize,
    /// Blocks of 16 channels.
    pub blocks: usize,
    /// Tiles of all images.
    pub tiles: usize,
}

impl Spectrum {
    /// From one frequency to the next: one vector more than it takes, or the frequencies of a
    /// tile would often lie 4 KiB apart and drive each other out of the cache.
    pub fn frequency_step(self) -> usize {
        self.block_step() * self.blocks + LANES
    }

    /// From one block of channels to the next.
    pub fn block_step(self) -> usize {
        self.tiles * LANES
    }

    /// Numbers in all.
    pub fn len(self) -> usize {
        self.frequencies * self.frequency_step()
    }

    /// Where the first frequency of a tile lies.
    fn tile(self, block: usize, tile: usize) -> usize {
        block * self.block_step() + tile * LANES
    }
}

/// The squares of `SIZE` by `SIZE` pixels that the tiles of some images have on one side of the
/// convolution, `outputs` pixels apart.
#[derive(Clone, Copy)]
struct Squares {
    tiling: Tiling,
    /// Of an image.
    size: [usize; 2],
    channels: usize,
}

impl Squares {
    /// Where the pixel at the upper left of tile `tile` lies.
    fn start(self, tile: usize) -> usize {
        let (image, place) = (tile / self.tiling.tiles(), tile % self.tiling.tiles());
        let (row, column) = (place / self.tiling.columns, place % self.tiling.columns);
        let line = image * self.size[0] + row * self.tiling.outputs;
        (line * self.size[1] + column * self.tiling.outputs) * self.channels
    }

    /// Checks that images and spectrum have what the tiles need.
    fn check(self, square: usize, images: usize, spectrum: Spectrum, frequencies: usize) {
        let covered = [self.tiling.rows, self.tiling.columns]
            .map(|tiles| (tiles - 1) * self.tiling.outputs + square);
        assert!(covered[0] <= self.size[0] && covered[1] <= self.size[1], "tiles leave the image");
        let image_len = self.size[0] * self.size[1] * self.channels;
        let count = spectrum.tiles.div_ceil(self.tiling.tiles());
        assert_eq!(images, count * image_len, "the images' size");
        assert_eq!(spectrum.blocks * LANES, self.channels, "blocks of 16 channels");
        assert_eq!(frequencies, spectrum.len(), "the spectrum's size");
    }
}

/// Squares of images to frequencies, [`Through`] a transform.
pub(super) struct ToFrequencies<'a> {
    pub tiling: Tiling,
    /// Some images of height and width `size`.
    pub images: &'a [f32],
    pub size: [usize; 2],
    pub spectrum: Spectrum,
    pub to: &'a mut [f32],
}

impl<L: Line<FROM, TO>, const FROM: usize, const TO: usize> Kernel
    for Through<ToFrequencies<'_>, L, FROM, TO>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToFrequencies { tiling, images, size, spectrum, to } = self.kernel;
        let channels = spectrum.blocks * LANES;
        let squares = Squares { tiling, size, channels };
        squares.check(FROM, images.len(), spectrum, to.len());
        assert_eq!(spectrum.frequencies, TO * TO, "the transform's frequencies");
        let row_len = size[1] * channels;
        let step = spectrum.frequency_step();
        for tile in 0..spectrum.tiles {
            let start = squares.start(tile);
            for block in 0..spectrum.blocks {
                // SAFETY: `check` made sure that the squares of all tiles lie in the images, and
                // that the spectrum holds all frequencies of all blocks and tiles.
                unsafe {
                    let from = images.as_ptr().add(start + block * LANES);
                    let mut square = [[s.splat(0.0); FROM]; FROM];
                    for (i, line) in square.iter_mut().enumerate() {
                        for (j, pixel) in line.iter_mut().enumerate() {
                            *pixel = s.load(from.add(i * row_len + j * channels));
                        }
                    }
                    let frequencies = both_ways::<L, S, FROM, TO>(s, &square);
                    let to = to.as_mut_ptr().add(spectrum.tile(block, tile));
                    for (i, &frequency) in frequencies.as_flattened().iter().enumerate() {
                        s.store(to.add(i * step), frequency);
                    }
                }
            }
        }
    }
}

/// Frequencies to squares of images, [`Through`] a transform. Squares that overlap are added up in
/// the order of the tiles, to images that hold 0 before.
pub(super) struct FromFrequencies<'a> {
    pub tiling: Tiling,
    pub from: &'a [f32],
    pub spectrum: Spectrum,
    /// Some images of height and width `size`.
    pub images: &'a mut [f32],
    pub size: [usize; 2],
}

impl<L: Line<FROM, TO>, const FROM: usize, const TO: usize> Kernel
    for Through<FromFrequencies<'_>, L, FROM, TO>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FromFrequencies { tiling, from, spectrum, images, size } = self.kernel;
        let channels = spectrum.blocks * LANES;
        let squares = Squares { tiling, size, channels };
        squares.check(TO, images.len(), spectrum, from.len());
        assert_eq!(spectrum.frequencies, FROM * FROM, "the transform's frequencies");
        let row_len = size[1] * channels;
        let step = spectrum.frequency_step();
        let overlap = TO > tiling.outputs;
        for tile in 0..spectrum.tiles {
            let start = squares.start(tile);
            for block in 0..spectrum.blocks {
                // SAFETY: `check` made sure that the spectrum holds all frequencies of all blocks
                // and tiles, and that the squares of all tiles lie in the images.
                unsafe {
                    let from = from.as_ptr().add(spectrum.tile(block, tile));
                    let mut frequencies = [[s.splat(0.0); FROM]; FROM];
                    for (i, frequency) in frequencies.as_flattened_mut().iter_mut().enumerate() {
                        *frequency = s.load(from.add(i * step));
                    }
                    let square = both_ways::<L, S, FROM, TO>(s, &frequencies);
                    let to = images.as_mut_ptr().add(start + block * LANES);
                    for (i, line) in square.iter().enumerate() {
                        for (j, &pixel) in line.iter().enumerate() {
                            let to = to.add(i * row_len + j * channels);
                            let pixel = if overlap { s.add(s.load(to), pixel) } else { pixel };
                            s.store(to, pixel);
                        }
                    }
                }
            }
        }
    }
}
