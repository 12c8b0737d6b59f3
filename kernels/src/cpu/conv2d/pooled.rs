//! From frequencies to the maxima of windows of 2 by 2 output pixels, which never leave the
//! registers.

use super::forms::Line;
use super::tiles::{Images, Spectrum, Tiling};
use super::transform::{Square, Through, columns, row};
use crate::cpu::finish::Finish;
use crate::cpu::pool::greatest;
use crate::cpu::simd::{Kernel, LANES, Simd};

/// Frequencies to pooled images, [`Through`] the transform of an even number of outputs: the
/// maximum of each window, then what `finish` says, which keeps the order of numbers.
pub(super) struct ToPooled<'a> {
    pub tiling: Tiling,
    pub from: &'a [f32],
    pub spectrum: Spectrum,
    /// Some pooled images as `layout` says.
    pub images: &'a mut [f32],
    pub layout: Images,
    pub finish: Finish<'a>,
}

impl<L: Line<FROM, TO>, const FROM: usize, const TO: usize> Kernel
    for Through<ToPooled<'_>, L, FROM, TO>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToPooled { tiling, from, spectrum, images, layout, finish } = self.kernel;
        layout.check(tiling, images.len(), spectrum, from.len());
        assert_eq!(spectrum.frequencies, FROM * FROM, "the transform's frequencies");
        assert!(TO == tiling.outputs && TO.is_multiple_of(2), "whole windows in a tile");
        finish.check(layout.channels);
        let (step, row_len) = (spectrum.frequency_step(), layout.size[1] * layout.channels);
        for tile in 0..spectrum.tiles {
            let (image, place) = tiling.place(tile);
            let [top, left] = place.map(|at| at / 2);
            let [rows, cells] = [layout.size[0] - top, layout.size[1] - left];
            let image = image * layout.len() + top * row_len + left * layout.channels;
            for block in 0..spectrum.blocks {
                let finish = finish.at(s, block * LANES);
                // SAFETY: `check` made sure that the spectrum holds all frequencies of all blocks
                // and tiles.
                let half = unsafe {
                    let from = from.as_ptr().add(spectrum.tile(block, tile));
                    columns::<L, S, FROM, TO>(s, Square::read_only(from, FROM * step, step))
                };
                let to = &mut images[image + block * LANES..];
                // Constant indices keep the rows in registers.
                for i in 0..TO / 2 {
                    // SAFETY: `columns` wrote all rows.
                    let (above, below) = unsafe {
                        let above = row::<L, S, FROM, TO>(s, &half[2 * i]);
                        (above, row::<L, S, FROM, TO>(s, &half[2 * i + 1]))
                    };
                    for j in 0..TO / 2 {
                        let (left, right) = (2 * j, 2 * j + 1);
                        let window = [above[left], above[right], below[left], below[right]];
                        let best = greatest(s, window);
                        if i < rows && j < cells {
                            let to = &mut to[i * row_len + j * layout.channels..];
                            s.store_slice(to, finish.apply(s, best));
                        }
                    }
                }
            }
        }
    }
}
