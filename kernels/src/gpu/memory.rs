//! Device memory: handles to ranges of blocks, and the free blocks by size.
//!
//! A block is bound to shaders as a whole; where a range starts travels with each call. So a
//! range may start anywhere, and few bind groups are ever made.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::context::{Context, context, locked};
use super::fault::Fault;
use crate::buffer::Kind;

/// Blocks come in multiples of this, so that lengths that differ by a little share them.
const GRAIN_BYTES: u64 = 256;

/// A range of a block in the device's memory.
#[derive(Clone)]
pub struct Memory {
    pub(super) block: Arc<Block>,
    range: Range<usize>,
    kind: Kind,
}

/// A block; it goes back to the pool when its last handle is dropped. Work that was recorded
/// before and uses it comes before all that the next owner records.
pub(super) struct Block {
    pub buffer: wgpu::Buffer,
    /// No two blocks of the process have the same number.
    pub number: u32,
}

impl Drop for Block {
    fn drop(&mut self) {
        context().pool.give_back(self.number, self.buffer.clone());
    }
}

/// The free blocks by their size. The one with the lowest number is taken first: a step that
/// begins with the same free blocks as the step before it then takes the same ones in each place,
/// and needs no new bind groups.
#[derive(Default)]
pub(super) struct Pool {
    inner: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    free: HashMap<u64, BTreeMap<u32, wgpu::Buffer>>,
    made: u32,
}

impl Pool {
    fn give_back(&self, number: u32, buffer: wgpu::Buffer) {
        let mut blocks = locked(&self.inner);
        blocks.free.entry(buffer.size()).or_default().insert(number, buffer);
    }

    fn take(&self, context: &Context, bytes: u64) -> Block {
        let size = bytes.max(1).next_multiple_of(GRAIN_BYTES);
        let mut blocks = locked(&self.inner);
        if let Some((number, buffer)) = blocks.free.get_mut(&size).and_then(BTreeMap::pop_first) {
            return Block { buffer, number };
        }
        let limits = context.device.limits();
        let most = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        if size > most {
            context.fail(Fault::TooSmall(format!(
                "one buffer is to hold {size} bytes and can hold {most}; smaller batches need less"
            )));
        }
        context.count(|made| made.blocks += 1);
        blocks.made += 1;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        Block { buffer: context.device.create_buffer(&descriptor), number: blocks.made }
    }
}

impl Memory {
    /// Memory for `len` elements, whose content is unspecified.
    #[must_use]
    pub fn unspecified(kind: Kind, len: usize) -> Memory {
        let context = context();
        let bytes = len as u64 * element_bytes(kind);
        let block = Arc::new(context.pool.take(context, bytes));
        Memory { block, range: 0..len, kind }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// What the elements are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The elements `range` of this memory, sharing its block.
    ///
    /// # Panics
    /// If the range leaves the memory.
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: Range<usize>) -> Memory {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "elements {range:?} leave a buffer of {}",
            self.len()
        );
        let start = self.range.start;
        Memory { range: start + range.start..start + range.end, ..self.clone() }
    }

    /// Whether an element belongs to both.
    pub(super) fn overlaps(&self, other: &Memory) -> bool {
        let shared = self.range.start.max(other.range.start)..self.range.end.min(other.range.end);
        self.block.number == other.block.number && !shared.is_empty()
    }

    /// The first element's place in the block.
    pub(super) fn offset(&self) -> u32 {
        u32::try_from(self.range.start).expect("a block has fewer than 2^32 elements")
    }

    /// Overwrites the elements, after all that was recorded before.
    ///
    /// # Panics
    /// If the number of bytes is another, or bytes are written to where no multiple of four of
    /// them starts.
    #[track_caller]
    pub(crate) fn copy_from(&mut self, bytes: &[u8]) {
        let Range { start, end } = self.bytes();
        assert_eq!(bytes.len() as u64, end - start, "a buffer of another length");
        assert_eq!(start % 4, 0, "bytes are copied to a multiple of four");
        let context = context();
        let mut recorder = locked(&context.recorder);
        // wgpu writes before everything that the next submission holds.
        recorder.submit(context);
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        if !whole.is_empty() {
            context.queue.write_buffer(&self.block.buffer, start, whole);
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            context.queue.write_buffer(&self.block.buffer, start + whole.len() as u64, &last);
        }
    }

    /// Copies the elements out, after all that was recorded before; all bits set (NaN for real
    /// numbers) where the device has failed.
    ///
    /// # Panics
    /// If the number of bytes is another.
    #[track_caller]
    pub(crate) fn copy_to(&self, bytes: &mut [u8]) {
        let Range { start, end } = self.bytes();
        assert_eq!(bytes.len() as u64, end - start, "a buffer of another length");
        if bytes.is_empty() {
            return;
        }
        let context = context();
        let from = start / 4 * 4;
        let aligned = from..end.next_multiple_of(4);
        let mut recorder = locked(&context.recorder);
        match recorder.read(context, &self.block.buffer, aligned) {
            Ok(read) => bytes.copy_from_slice(&read[(start - from) as usize..][..bytes.len()]),
            Err(fault) => {
                context.fail(fault);
                bytes.fill(0xFF);
            }
        }
    }

    fn bytes(&self) -> Range<u64> {
        let element = element_bytes(self.kind);
        self.range.start as u64 * element..self.range.end as u64 * element
    }
}

fn element_bytes(kind: Kind) -> u64 {
    if kind == Kind::Byte { 1 } else { 4 }
}
