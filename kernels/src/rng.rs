//! Random numbers without state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A number is a function of what it is for: (seed, purpose, step, index). Nothing has to be
//! saved for a resume, and the number of threads, the order of work and the device cannot
//! change a draw. The GPU's shaders compute the same words from the same counters.

/// Ten rounds of Philox on one counter: 128 random bits as four words.
#[must_use]
#[inline(always)]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    rounds(counter.map(|word| [word]), key).map(|[word]| word)
}

/// Ten rounds on `N` counters with one key. The first index is the word, the second the counter,
/// so that a loop over counters becomes vectors.
#[inline(always)]
fn rounds<const N: usize>(mut counters: [[u32; N]; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let [c0, c1, c2, c3] = &mut counters;
        for i in 0..N {
            let p0 = MULTIPLIERS[0] * u64::from(c0[i]);
            let p1 = MULTIPLIERS[1] * u64::from(c2[i]);
            c0[i] = (p1 >> 32) as u32 ^ c1[i] ^ k0;
            c1[i] = p1 as u32;
            c2[i] = (p0 >> 32) as u32 ^ c3[i] ^ k1;
            c3[i] = p0 as u32;
        }
        k0 = k0.wrapping_add(KEY_STEPS[0]);
        k1 = k1.wrapping_add(KEY_STEPS[1]);
    }
    counters
}

/// One endless sequence of words, named by what it is for.
///
/// Word `i` is word `i % 4` of the Philox block with key (seed low, seed high) and counter
/// (`i / 4` low, `i / 4` high, step, purpose).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The run's seed.
    pub seed: u64,
    /// What the numbers are for; see [`purpose`].
    pub purpose: u32,
    /// The optimizer step, the epoch, or 0 where time does not matter.
    pub step: u32,
}

impl Stream {
    /// The four words with indices `4 * block .. 4 * block + 4`.
    #[must_use]
    #[inline(always)]
    pub fn block(self, block: u64) -> [u32; 4] {
        philox4x32(
            [block as u32, (block >> 32) as u32, self.step, self.purpose],
            [self.seed as u32, (self.seed >> 32) as u32],
        )
    }

    /// Word `w` of block `first + i` at `[w][i]`, for `N` blocks at once.
    #[must_use]
    #[inline(always)]
    pub fn blocks<const N: usize>(self, first: u64) -> [[u32; N]; 4] {
        let (mut low, mut high) = ([0; N], [0; N]);
        for (block, (low, high)) in (first..).zip(low.iter_mut().zip(&mut high)) {
            (*low, *high) = (block as u32, (block >> 32) as u32);
        }
        let counters = [low, high, [self.step; N], [self.purpose; N]];
        rounds(counters, [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// The word at `index`.
    #[must_use]
    pub fn word(self, index: u64) -> u32 {
        self.block(index / 4)[(index % 4) as usize]
    }

    /// The number in [0, 1) at `index`.
    #[must_use]
    pub fn uniform(self, index: u64) -> f32 {
        uniform(self.word(index))
    }
}

/// A word as a number in [0, 1): its top 24 bits times 2^-24, exact in f32.
#[must_use]
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// What streams are for. A purpose is a kind in the upper half and a number (a layer, a tensor)
/// in the lower half, so that no two uses ever share a counter.
pub mod purpose {
    /// Initial value of the parameter tensor with this number.
    #[must_use]
    pub fn initializer(tensor: u16) -> u32 {
        0x0001_0000 | u32::from(tensor)
    }
    /// The order of the training images in an epoch (the step is the epoch).
    pub const SHUFFLE: u32 = 0x0002_0000;
    /// The mask of the dropout layer with this number.
    #[must_use]
    pub fn dropout(layer: u16) -> u32 {
        0x0003_0000 | u32::from(layer)
    }
    /// How an image is changed in an epoch (the step is the epoch).
    pub const AUGMENT: u32 = 0x0004_0000;
    /// How the images of a batch are mixed (the step is the optimizer's).
    pub const MIX: u32 = 0x0005_0000;
    /// The settings that a search tries (the step is the trial).
    pub const TUNE: u32 = 0x0006_0000;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with their reference implementation.
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([!0; 4], [!0; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, words) in cases {
            assert_eq!(philox4x32(counter, key), words);
        }
    }

    #[test]
    fn uniform_stays_below_one() {
        assert_eq!(uniform(0), 0.0);
        assert_eq!(uniform(u32::MAX), 1.0 - 1.0 / 16_777_216.0);
    }

    #[test]
    fn words_follow_blocks() {
        let stream = Stream { seed: 0x0123_4567_89ab_cdef, purpose: 7, step: 3 };
        let block = stream.block(5);
        assert_eq!([20, 21, 22, 23].map(|i| stream.word(i)), block);
        let many = stream.blocks::<16>(0xFFFF_FFFB);
        for i in 0..16 {
            assert_eq!(many.map(|words| words[i]), stream.block(0xFFFF_FFFB + i as u64));
        }
        assert_ne!(block, Stream { step: 4, ..stream }.block(5));
        assert_ne!(block, Stream { purpose: 8, ..stream }.block(5));
        assert_ne!(block, Stream { seed: 1, ..stream }.block(5));
    }
}
