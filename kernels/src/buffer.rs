//! `Buffer`: a range of a block of memory on a device, and the copies in and out of it.
//!
//! A buffer is a handle: clones and slices share the block, which returns to the free list when
//! the last handle goes. The menu of kernels (in the crate root) and the copies here are the only
//! code that looks at the device.

use std::ops::Range;
use std::sync::Arc;

use crate::block::{Block, Plain, Read, Write};

/// Where kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The SIMD kernels, real numbers in f32.
    Cpu,
    /// The plain loops of [`crate::reference`], real numbers in f64: slow and exact, for checks.
    Reference,
}

/// What a buffer's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The device's real number: f32, or f64 on [`Device::Reference`].
    Real,
    /// Bytes: pixels, labels, code bytes.
    Byte,
    /// Unsigned 32-bit numbers: orders of images.
    Index,
}

/// A type that a buffer's elements can be copied from and to.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {
    /// The kind of buffer that holds it.
    const KIND: Kind;
}

mod sealed {
    use super::{Block, Range};

    /// How elements of this type get into and out of a block that may store another width.
    pub trait Sealed: Sized {
        fn copy_in(block: &Block, range: Range<usize>, wide: bool, from: &[Self]);
        fn copy_out(block: &Block, range: Range<usize>, wide: bool, to: &mut [Self]);
    }
}

macro_rules! real_element {
    ($type:ty) => {
        impl Element for $type {
            const KIND: Kind = Kind::Real;
        }
        impl sealed::Sealed for $type {
            fn copy_in(block: &Block, range: Range<usize>, wide: bool, from: &[Self]) {
                if wide {
                    let mut to = block.write::<f64>(range);
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as f64);
                } else {
                    let mut to = block.write::<f32>(range);
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as f32);
                }
            }
            fn copy_out(block: &Block, range: Range<usize>, wide: bool, to: &mut [Self]) {
                if wide {
                    let from = block.read::<f64>(range);
                    to.iter_mut().zip(&*from).for_each(|(to, &from)| *to = from as $type);
                } else {
                    let from = block.read::<f32>(range);
                    to.iter_mut().zip(&*from).for_each(|(to, &from)| *to = from as $type);
                }
            }
        }
    };
}
real_element!(f32);
real_element!(f64);

macro_rules! whole_element {
    ($type:ty, $kind:expr) => {
        impl Element for $type {
            const KIND: Kind = $kind;
        }
        impl sealed::Sealed for $type {
            fn copy_in(block: &Block, range: Range<usize>, _wide: bool, from: &[Self]) {
                block.write(range).copy_from_slice(from);
            }
            fn copy_out(block: &Block, range: Range<usize>, _wide: bool, to: &mut [Self]) {
                to.copy_from_slice(&block.read(range));
            }
        }
    };
}
whole_element!(u8, Kind::Byte);
whole_element!(u32, Kind::Index);

/// A range of a block in this process's memory.
#[derive(Clone)]
pub struct Memory {
    block: Arc<Block>,
    range: Range<usize>,
    kind: Kind,
}

impl Memory {
    fn new(kind: Kind, element_bytes: usize, len: usize) -> Memory {
        let bytes = len.checked_mul(element_bytes).expect("a buffer fits the address space");
        Memory { block: Arc::new(Block::new(bytes)), range: 0..len, kind }
    }

    #[track_caller]
    pub(crate) fn read<T: Plain>(&self) -> Read<'_, T> {
        self.block.read(self.range.clone())
    }

    #[track_caller]
    pub(crate) fn write<T: Plain>(&self) -> Write<'_, T> {
        self.block.write(self.range.clone())
    }
}

/// Numbers on a device: a handle to a range of a block.
///
/// Clones and slices share the memory. Kernels check at run time that what one operand of a call
/// writes is not read or written by another.
#[derive(Clone)]
pub enum Buffer {
    /// On [`Device::Cpu`].
    Cpu(Memory),
    /// On [`Device::Reference`].
    Reference(Memory),
}

impl Buffer {
    /// A buffer whose content is unspecified: for outputs that a kernel writes in full. Debug
    /// builds fill real numbers with NaN, so that reading what nobody wrote shows.
    #[must_use]
    pub fn unspecified(device: Device, kind: Kind, len: usize) -> Buffer {
        let mut buffer = match device {
            Device::Cpu => {
                Buffer::Cpu(Memory::new(kind, if kind == Kind::Byte { 1 } else { 4 }, len))
            }
            Device::Reference => {
                let bytes = match kind {
                    Kind::Real => 8,
                    Kind::Byte => 1,
                    Kind::Index => 4,
                };
                Buffer::Reference(Memory::new(kind, bytes, len))
            }
        };
        if cfg!(debug_assertions) && kind == Kind::Real {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// A buffer of real numbers, all 0.
    #[must_use]
    pub fn zeros(device: Device, len: usize) -> Buffer {
        let mut buffer = Buffer::unspecified(device, Kind::Real, len);
        buffer.fill(0.0);
        buffer
    }

    /// A buffer with a copy of `values`.
    #[must_use]
    pub fn from_slice<T: Element>(device: Device, values: &[T]) -> Buffer {
        let mut buffer = Buffer::unspecified(device, T::KIND, values.len());
        buffer.copy_from(values);
        buffer
    }

    /// Overwrites the buffer; f32 and f64 are converted to the device's real number.
    ///
    /// # Panics
    /// If the lengths or the kinds differ.
    #[track_caller]
    pub fn copy_from<T: Element>(&mut self, values: &[T]) {
        self.check::<T>(values.len());
        let memory = self.memory();
        T::copy_in(&memory.block, memory.range.clone(), self.is_wide(), values);
    }

    /// Copies the buffer out; real numbers are converted to `T`.
    ///
    /// # Panics
    /// If the lengths or the kinds differ.
    #[track_caller]
    pub fn copy_to<T: Element>(&self, values: &mut [T]) {
        self.check::<T>(values.len());
        let memory = self.memory();
        T::copy_out(&memory.block, memory.range.clone(), self.is_wide(), values);
    }

    /// A copy of the buffer's content.
    ///
    /// # Panics
    /// If the kinds differ.
    #[must_use]
    #[track_caller]
    pub fn to_vec<T: Element + Default>(&self) -> Vec<T> {
        let mut values = vec![T::default(); self.len()];
        self.copy_to(&mut values);
        values
    }

    /// The elements `range` of this buffer, sharing its memory.
    ///
    /// # Panics
    /// If the range leaves the buffer.
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: Range<usize>) -> Buffer {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "elements {range:?} leave a buffer of {}",
            self.len()
        );
        let mut slice = self.clone();
        let (Buffer::Cpu(memory) | Buffer::Reference(memory)) = &mut slice;
        memory.range = memory.range.start + range.start..memory.range.start + range.end;
        slice
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory().range.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the elements are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.memory().kind
    }

    /// Where the buffer lives.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Buffer::Cpu(_) => Device::Cpu,
            Buffer::Reference(_) => Device::Reference,
        }
    }

    fn memory(&self) -> &Memory {
        let (Buffer::Cpu(memory) | Buffer::Reference(memory)) = self;
        memory
    }

    /// Whether real numbers are stored as f64.
    fn is_wide(&self) -> bool {
        matches!(self, Buffer::Reference(_))
    }

    /// Sets every real number to `value`.
    ///
    /// # Panics
    /// If the elements are not real numbers.
    #[track_caller]
    pub fn fill(&mut self, value: f32) {
        assert_eq!(self.kind(), Kind::Real, "only real numbers are filled");
        if self.is_wide() {
            self.memory().write::<f64>().fill(f64::from(value));
        } else {
            self.memory().write::<f32>().fill(value);
        }
    }

    #[track_caller]
    fn check<T: Element>(&self, len: usize) {
        assert_eq!(T::KIND, self.kind(), "a buffer of another kind of element");
        assert_eq!(len, self.len(), "a buffer of another length");
    }
}

/// The menu's access to an operand: checks kind and device, and lends the elements.
pub(crate) mod operand {
    use super::{Buffer, Element, Kind, Memory, Plain, Read, Write};

    /// The memory of `buffer`, which must be on a device whose real numbers are as `wide`.
    #[track_caller]
    fn memory<'a>(
        kernel: &str,
        name: &str,
        buffer: &'a Buffer,
        kind: Kind,
        wide: bool,
    ) -> &'a Memory {
        assert_eq!(
            buffer.is_wide(),
            wide,
            "{kernel}: operand `{name}` is on {:?}, the first operand on another device",
            buffer.device()
        );
        assert_eq!(buffer.kind(), kind, "{kernel}: operand `{name}` has another kind of element");
        buffer.memory()
    }

    /// Lends `buffer` for reading.
    #[track_caller]
    pub fn read<'a, T: Plain + Element>(
        kernel: &str,
        name: &str,
        buffer: &'a Buffer,
        wide: bool,
    ) -> Read<'a, T> {
        memory(kernel, name, buffer, T::KIND, wide).read()
    }

    /// Lends `buffer` for writing.
    #[track_caller]
    pub fn write<'a, T: Plain + Element>(
        kernel: &str,
        name: &str,
        buffer: &'a Buffer,
        wide: bool,
    ) -> Write<'a, T> {
        memory(kernel, name, buffer, T::KIND, wide).write()
    }
}
