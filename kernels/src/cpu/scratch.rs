//! Working memory of a kernel, taken from the free lists.

use crate::block::{Block, Frozen, Read, Write};

/// f32 working memory with unspecified content.
pub(crate) struct Scratch {
    block: Block,
    len: usize,
}

impl Scratch {
    /// `len` numbers, each of unspecified value.
    pub fn new(len: usize) -> Scratch {
        let bytes = len.checked_mul(size_of::<f32>()).expect("no memory holds so many numbers");
        Scratch { block: Block::own(bytes), len }
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Scratch {
        let mut scratch = Scratch::new(len);
        scratch.write().fill(0.0);
        scratch
    }

    /// The numbers, never to be written again.
    pub fn freeze(self) -> Frozen {
        Frozen::new(self.block, self.len)
    }

    /// The numbers, for reading.
    pub fn read(&self) -> Read<'_, f32> {
        self.block.read(0..self.len)
    }

    /// The numbers, for writing.
    pub fn write(&mut self) -> Write<'_, f32> {
        self.block.write(0..self.len)
    }
}
