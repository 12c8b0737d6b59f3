//! The menu on the CPU: SIMD over one small trait, threads over images. `README.md` in this
//! folder explains packing, tiles and the orders of sums.

pub mod arch;
pub mod isa;
pub mod simd;

mod scratch;

pub use crate::reference::*;
