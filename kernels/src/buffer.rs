//! `Buffer`: a range of a block of memory on a device, and the copies in and out of it.
//!
//! A buffer is a handle: clones and slices share the block, which returns to a free list when
//! the last handle goes. The menu of kernels (in the crate root) and the copies here are the only
//! code that looks at the device.

use std::ops::Range;
use std::sync::Arc;

use crate::block::{Block, Plain, Read, Write};
use crate::cpu::isa::Isa;
#[cfg(feature = "gpu")]
use crate::gpu;

/// Where kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The SIMD kernels, real numbers in f32.
    Cpu,
    /// The plain loops of [`crate::reference`], real numbers in f64: slow and exact, for checks.
    Reference,
    /// The graphics card that [`gpu::open`] has found, real numbers in f32.
    #[cfg(feature = "gpu")]
    Gpu,
}

/// How many blocks have been made for the working memory of kernels' tasks since the program began:
/// what a test of allocations looks at, since such blocks come from the allocator many at a time.
#[doc(hidden)]
#[must_use]
pub fn blocks_cut_for_tasks() -> usize {
    crate::block::cut_for_tasks()
}

impl Device {
    /// What computes, in a word or two: the instruction set, or the graphics card's name.
    ///
    /// # Errors
    /// If `TOILE_ISA` names none, or one that this processor lacks.
    pub fn engine(self) -> Result<String, String> {
        match self {
            Device::Cpu => Ok(Isa::from_environment()?.name().to_owned()),
            Device::Reference => Ok("reference".to_owned()),
            #[cfg(feature = "gpu")]
            Device::Gpu => gpu::open()
                .map(|opened| format!("{} ({})", opened.name, opened.backend))
                .map_err(|fault| fault.to_string()),
        }
    }

    /// The kind of arithmetic, which decides how results round.
    ///
    /// # Errors
    /// As for [`Device::engine`].
    pub fn arithmetic(self) -> Result<&'static str, String> {
        match self {
            Device::Cpu => Ok(Isa::from_environment()?.arithmetic()),
            Device::Reference => Ok("double"),
            #[cfg(feature = "gpu")]
            Device::Gpu => Ok("gpu"),
        }
    }
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
        #[cfg(feature = "gpu")]
        fn copy_to_gpu(memory: &mut super::gpu::Memory, from: &[Self]);
        #[cfg(feature = "gpu")]
        fn copy_from_gpu(memory: &super::gpu::Memory, to: &mut [Self]);
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
            #[cfg(feature = "gpu")]
            fn copy_to_gpu(memory: &mut gpu::Memory, from: &[Self]) {
                let from: Vec<f32> = from.iter().map(|&x| x as f32).collect();
                memory.copy_from(bytemuck::cast_slice(&from));
            }
            #[cfg(feature = "gpu")]
            fn copy_from_gpu(memory: &gpu::Memory, to: &mut [Self]) {
                let mut from = vec![0f32; to.len()];
                memory.copy_to(bytemuck::cast_slice_mut(&mut from));
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from as $type);
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
            #[cfg(feature = "gpu")]
            fn copy_to_gpu(memory: &mut gpu::Memory, from: &[Self]) {
                memory.copy_from(bytemuck::cast_slice(from));
            }
            #[cfg(feature = "gpu")]
            fn copy_from_gpu(memory: &gpu::Memory, to: &mut [Self]) {
                memory.copy_to(bytemuck::cast_slice_mut(to));
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

    /// The elements `range` of these, which has been checked.
    fn slice(&self, range: Range<usize>) -> Memory {
        let start = self.range.start;
        Memory { range: start + range.start..start + range.end, ..self.clone() }
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
    /// On [`Device::Gpu`].
    #[cfg(feature = "gpu")]
    Gpu(gpu::Memory),
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
            #[cfg(feature = "gpu")]
            Device::Gpu => Buffer::Gpu(gpu::Memory::unspecified(kind, len)),
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
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(memory) => T::copy_to_gpu(memory, values),
            Buffer::Cpu(Memory { block, range, .. }) => {
                T::copy_in(block, range.clone(), false, values);
            }
            Buffer::Reference(Memory { block, range, .. }) => {
                T::copy_in(block, range.clone(), true, values);
            }
        }
    }

    /// Copies the buffer out; real numbers are converted to `T`.
    ///
    /// # Panics
    /// If the lengths or the kinds differ.
    #[track_caller]
    pub fn copy_to<T: Element>(&self, values: &mut [T]) {
        self.check::<T>(values.len());
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(memory) => T::copy_from_gpu(memory, values),
            Buffer::Cpu(Memory { block, range, .. }) => {
                T::copy_out(block, range.clone(), false, values);
            }
            Buffer::Reference(Memory { block, range, .. }) => {
                T::copy_out(block, range.clone(), true, values);
            }
        }
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
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(memory) => Buffer::Gpu(memory.slice(range)),
            Buffer::Cpu(memory) => Buffer::Cpu(memory.slice(range)),
            Buffer::Reference(memory) => Buffer::Reference(memory.slice(range)),
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(memory) => memory.len(),
            Buffer::Cpu(memory) | Buffer::Reference(memory) => memory.range.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the elements are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(memory) => memory.kind(),
            Buffer::Cpu(memory) | Buffer::Reference(memory) => memory.kind,
        }
    }

    /// Where the buffer lives.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Buffer::Cpu(_) => Device::Cpu,
            Buffer::Reference(_) => Device::Reference,
            #[cfg(feature = "gpu")]
            Buffer::Gpu(_) => Device::Gpu,
        }
    }

    /// Sets every real number to `value`.
    ///
    /// # Panics
    /// If the elements are not real numbers.
    #[track_caller]
    pub fn fill(&mut self, value: f32) {
        assert_eq!(self.kind(), Kind::Real, "only real numbers are filled");
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(memory) => gpu::fill(memory, value),
            Buffer::Cpu(memory) => memory.write::<f32>().fill(value),
            Buffer::Reference(memory) => memory.write::<f64>().fill(f64::from(value)),
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
    #[cfg(feature = "gpu")]
    use super::gpu;
    use super::{Buffer, Device, Element, Kind, Memory, Plain, Read, Write};

    #[track_caller]
    fn check(kernel: &str, name: &str, buffer: &Buffer, kind: Kind, device: Device) {
        assert_eq!(
            buffer.device(),
            device,
            "{kernel}: operand `{name}` is on another device than the first operand"
        );
        assert_eq!(buffer.kind(), kind, "{kernel}: operand `{name}` has another kind of element");
    }

    /// The memory of `buffer`, which must be on `device`: one in this process's memory.
    #[track_caller]
    fn memory<'a>(
        kernel: &str,
        name: &str,
        buffer: &'a Buffer,
        kind: Kind,
        device: Device,
    ) -> &'a Memory {
        check(kernel, name, buffer, kind, device);
        match buffer {
            Buffer::Cpu(memory) | Buffer::Reference(memory) => memory,
            #[cfg(feature = "gpu")]
            Buffer::Gpu(_) => unreachable!("the device was checked"),
        }
    }

    /// Lends `buffer` for reading.
    #[track_caller]
    pub fn read<'a, T: Plain + Element>(
        kernel: &str,
        name: &str,
        buffer: &'a Buffer,
        device: Device,
    ) -> Read<'a, T> {
        memory(kernel, name, buffer, T::KIND, device).read()
    }

    /// Lends `buffer` for writing.
    #[track_caller]
    pub fn write<'a, T: Plain + Element>(
        kernel: &str,
        name: &str,
        buffer: &'a Buffer,
        device: Device,
    ) -> Write<'a, T> {
        memory(kernel, name, buffer, T::KIND, device).write()
    }

    /// The graphics card's memory of `buffer`.
    #[cfg(feature = "gpu")]
    #[track_caller]
    pub fn on_gpu(kernel: &str, name: &str, buffer: &Buffer, kind: Kind) -> gpu::Memory {
        check(kernel, name, buffer, kind, Device::Gpu);
        match buffer {
            Buffer::Gpu(memory) => memory.clone(),
            Buffer::Cpu(_) | Buffer::Reference(_) => unreachable!("the device was checked"),
        }
    }
}
