//! From images to the frequencies of their tiles and back.
//!
//! A tile is the square of T by T input pixels behind M by M output pixels; neighbouring tiles
//! overlap by two pixels. Vectors run across channels, so a tile is T times T vectors a block
//! of 16 channels, and no number ever crosses a lane.

use std::mem::MaybeUninit;

use super::forms::Line;
use super::transform::{Add, Overwrite, Sink, Square, Through, both_ways};
use crate::cpu::finish::Finish;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::geometry::Conv2d;

/// How the images of a convolution are cut into tiles.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Tiling {
    /// M, output pixels of a tile in each direction: 2, 4, 5 or 6.
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

    /// Where the first pixel of a tile lies, and the number of its image.
    pub fn place(self, tile: usize) -> (usize, [usize; 2]) {
        let (image, place) = (tile / self.tiles(), tile % self.tiles());
        (image, [place / self.columns, place % self.columns].map(|at| at * self.outputs))
    }
}

/// The images on one side of a convolution.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Images {
    /// Height and width.
    pub size: [usize; 2],
    /// Zeros above and left of an image; what lies below and right of it is 0 as well.
    pub padding: usize,
    /// Rows of pixels, counted with the zeros, above the first tile.
    pub first_row: usize,
    /// A multiple of 16.
    pub channels: usize,
}

impl Images {
    fn row_len(self) -> usize {
        self.size[1] * self.channels
    }

    /// Numbers of an image.
    pub fn len(self) -> usize {
        self.size[0] * self.row_len()
    }

    /// The part of a tile's square that lies in the image: where it starts, in the square and
    /// in the image, and its height and width.
    fn part(self, [row, column]: [usize; 2], square: usize) -> Part {
        let cut = |place: usize, size: usize| {
            let outside = self.padding.saturating_sub(place).min(square);
            let start = (place + outside).saturating_sub(self.padding).min(size);
            (outside, start, (square - outside).min(size - start))
        };
        let (top, row, height) = cut(row + self.first_row, self.size[0]);
        let (left, column, width) = cut(column, self.size[1]);
        Part { outside: [top, left], start: [row, column], size: [height, width] }
    }

    /// Checks that `len` numbers and a spectrum of all channels are those of as many images, and the
    /// spectrum's own size.
    pub(super) fn check(self, tiling: Tiling, len: usize, spectrum: Spectrum, frequencies: usize) {
        assert_eq!(spectrum.blocks * LANES, self.channels, "blocks of 16 channels");
        self.check_some(tiling, len, (0, spectrum), frequencies);
    }

    /// The same for a spectrum of the channels from a block on.
    fn check_some(
        self,
        tiling: Tiling,
        len: usize,
        (first_block, spectrum): (usize, Spectrum),
        frequencies: usize,
    ) {
        assert_eq!(len, spectrum.tiles.div_ceil(tiling.tiles()) * self.len(), "the images' size");
        let blocks = first_block.saturating_add(spectrum.blocks);
        assert!(blocks <= self.channels / LANES, "blocks of 16 channels");
        assert_eq!(frequencies, spectrum.len(), "the spectrum's size");
    }
}

/// See [`Images::part`].
struct Part {
    outside: [usize; 2],
    start: [usize; 2],
    size: [usize; 2],
}

impl Part {
    fn is_whole(&self, square: usize) -> bool {
        self.size == [square; 2]
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
    pub fn tile(self, block: usize, tile: usize) -> usize {
        block * self.block_step() + tile * LANES
    }
}

/// The square of a tile that is copied.
#[repr(align(64))]
struct Copied<const SIDE: usize>([[[f32; LANES]; SIDE]; SIDE]);

/// Squares of images to frequencies, [`Through`] a transform.
pub(super) struct ToFrequencies<'a> {
    pub tiling: Tiling,
    /// Some images as `layout` says.
    pub images: &'a [f32],
    pub layout: Images,
    /// Whether the images are likely to be far from the caches.
    pub from_memory: bool,
    /// The block of 16 channels that the spectrum begins with.
    pub first_block: usize,
    pub spectrum: Spectrum,
    pub to: &'a mut [f32],
}

impl<L: Line<FROM, TO>, const FROM: usize, const TO: usize> Kernel
    for Through<ToFrequencies<'_>, L, FROM, TO>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToFrequencies { tiling, images, layout, from_memory, first_block, spectrum, to } =
            self.kernel;
        layout.check_some(tiling, images.len(), (first_block, spectrum), to.len());
        assert_eq!(spectrum.frequencies, TO * TO, "the transform's frequencies");
        let (row_len, channels) = (layout.row_len(), layout.channels);
        let step = spectrum.frequency_step();
        for tile in 0..spectrum.tiles {
            let (image, place) = tiling.place(tile);
            let part = layout.part(place, FROM);
            let start = image * layout.len() + part.start[0] * row_len + part.start[1] * channels;
            let start = start + first_block * LANES;
            for block in 0..spectrum.blocks {
                // SAFETY: `part` lies inside its image, since no tile of a possible geometry, which
                // `Convolution::new` checked, begins past it. `check_some` made sure that the image is
                // there, that its pixels have all blocks from the first one on, and that the spectrum
                // holds all frequencies of all blocks and tiles.
                unsafe {
                    let from = images.as_ptr().add(start + block * LANES);
                    let to = to.as_mut_ptr().add(spectrum.tile(block, tile));
                    let to = Square { start: to, row: TO * step, column: step };
                    // What the tile below adds: a row of tiles later it is there.
                    for i in 0..if from_memory { tiling.outputs } else { 0 } {
                        for j in 0..tiling.outputs {
                            let pixel = (FROM + i) * row_len + j * channels;
                            s.prefetch(from.wrapping_add(pixel));
                        }
                    }
                    if part.is_whole(FROM) {
                        let from = Square::read_only(from, row_len, channels);
                        both_ways::<L, S, FROM, TO>(s, from, to, Overwrite);
                    } else {
                        let mut copied = Copied([[[0.0; LANES]; FROM]; FROM]);
                        let start = copied.0.as_mut_ptr().cast::<f32>();
                        let copy = Square { start, row: FROM * LANES, column: LANES };
                        for i in 0..part.size[0] {
                            for j in 0..part.size[1] {
                                let pixel = s.load(from.add(i * row_len + j * channels));
                                s.store(copy.at(part.outside[0] + i, part.outside[1] + j), pixel);
                            }
                        }
                        both_ways::<L, S, FROM, TO>(s, copy, to, Overwrite);
                    }
                }
            }
        }
    }
}

/// Frequencies to squares of images, [`Through`] a transform: written as `finish` says or, where
/// there is none and squares overlap, added up in the order of the tiles to images that hold 0.
pub(super) struct FromFrequencies<'a> {
    pub tiling: Tiling,
    pub from: &'a [f32],
    pub spectrum: Spectrum,
    /// Some images as `layout` says.
    pub images: &'a mut [f32],
    pub layout: Images,
    pub finish: Option<Finish<'a>>,
}

impl<L: Line<FROM, TO>, const FROM: usize, const TO: usize> Kernel
    for Through<FromFrequencies<'_>, L, FROM, TO>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FromFrequencies { tiling, from, spectrum, images, layout, finish } = self.kernel;
        layout.check(tiling, images.len(), spectrum, from.len());
        assert_eq!(spectrum.frequencies, FROM * FROM, "the transform's frequencies");
        assert_eq!(finish.is_none(), TO > tiling.outputs, "squares overlap where they are added");
        finish.iter().for_each(|finish| finish.check(layout.channels));
        let step = spectrum.frequency_step();
        for tile in 0..spectrum.tiles {
            let (image, place) = tiling.place(tile);
            let part = layout.part(place, TO);
            for block in 0..spectrum.blocks {
                // SAFETY: `check` made sure that the spectrum holds all frequencies of all blocks
                // and tiles, and that the image is there, inside which `part` lies, as above.
                unsafe {
                    let from = from.as_ptr().add(spectrum.tile(block, tile));
                    let from = Square::read_only(from, FROM * step, step);
                    let image = images.as_mut_ptr().add(image * layout.len() + block * LANES);
                    let to = Target { image, layout, part: &part };
                    match finish {
                        None => to.put::<L, S, FROM, TO>(s, from, Add),
                        Some(finish) => {
                            to.put::<L, S, FROM, TO>(s, from, finish.at(s, block * LANES));
                        }
                    }
                }
            }
        }
    }
}

/// Where a square goes.
struct Target<'a> {
    image: *mut f32,
    layout: Images,
    part: &'a Part,
}

impl Target<'_> {
    /// # Safety
    /// `FROM` by `FROM` vectors of `from` must be readable, the part of the image writable.
    #[inline(always)]
    unsafe fn put<L: Line<FROM, TO>, S: Simd, const FROM: usize, const TO: usize>(
        &self,
        s: S,
        from: Square,
        sink: impl Sink<S>,
    ) {
        let (row, column) = (self.layout.row_len(), self.layout.channels);
        let [top, left] = self.part.start;
        // SAFETY: the caller guarantees all places.
        unsafe {
            let start = self.image.add(top * row + left * column);
            let to = Square { start, row, column };
            if self.part.is_whole(TO) {
                return both_ways::<L, S, FROM, TO>(s, from, to, sink);
            }
            // Left without initial values: the transform writes all that is read.
            let mut copied = MaybeUninit::<Copied<TO>>::uninit();
            let start = copied.as_mut_ptr().cast::<f32>();
            let copy = Square { start, row: TO * LANES, column: LANES };
            both_ways::<L, S, FROM, TO>(s, from, copy, Overwrite);
            for i in 0..self.part.size[0] {
                for j in 0..self.part.size[1] {
                    let [above, before] = self.part.outside;
                    let pixel = s.load(copy.at(above + i, before + j));
                    sink.put(s, to.at(i, j), pixel);
                }
            }
        }
    }
}
