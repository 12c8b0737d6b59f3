//! Which instruction set the kernels use: detected once, `TOILE_ISA` overrides it.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;

use super::arch::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::arch::{avx2::Avx2, avx512::Avx512};
use super::simd::{Kernel, Simd};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Whatever the compile-time target has.
    Portable,
}

impl Isa {
    const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The name as in `TOILE_ISA`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }

    /// The name of the family that gives the same bits.
    #[must_use]
    pub fn arithmetic(self) -> &'static str {
        match self {
            Isa::Avx512 | Isa::Avx2 => "fused",
            Isa::Portable => "portable",
        }
    }

    /// Whether this CPU runs it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// The instruction sets of this CPU, fastest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// What `TOILE_ISA` asks for, or the fastest one where it is unset.
    ///
    /// # Errors
    /// The text for the user when the value is unknown or this CPU lacks it.
    pub fn from_environment() -> Result<Isa, String> {
        let best = Self::available().next().unwrap_or(Isa::Portable);
        let Some(value) = std::env::var_os("TOILE_ISA") else {
            return Ok(best);
        };
        let here: Vec<_> = Self::available().map(Isa::name).collect();
        let here = here.join(", ");
        match Self::ALL.into_iter().find(|isa| value == isa.name()) {
            Some(isa) if isa.is_available() => Ok(isa),
            Some(isa) => Err(format!(
                "TOILE_ISA: this CPU has no {}; choose one of: {here}, or unset it",
                isa.name()
            )),
            None => Err(format!(
                "TOILE_ISA: expected one of: {here}; found {value:?}; unset it for the fastest"
            )),
        }
    }

    /// The instruction set in force on this thread. Kernels ask once, when they are called, and
    /// carry the answer into their tasks.
    ///
    /// # Panics
    /// If `TOILE_ISA` is invalid; programs check [`Isa::from_environment`] first.
    #[must_use]
    pub fn current() -> Isa {
        static CHOICE: OnceLock<Isa> = OnceLock::new();
        FORCED.get().isa.unwrap_or_else(|| {
            *CHOICE.get_or_init(|| Isa::from_environment().unwrap_or_else(|e| panic!("{e}")))
        })
    }

    /// Runs `kernel` on this instruction set.
    ///
    /// # Panics
    /// If this CPU lacks it.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().expect("this CPU has no AVX-512").run(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().expect("this CPU has no AVX2 with FMA").run(kernel),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => panic!("{self} is an instruction set of x86-64"),
            Isa::Portable => Portable.run(kernel),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a test or a benchmark forces on the kernels that its thread calls.
#[derive(Clone, Copy)]
struct Forced {
    isa: Option<Isa>,
    tile_rows: usize,
    direct: bool,
}

thread_local! {
    static FORCED: Cell<Forced> =
        const { Cell::new(Forced { isa: None, tile_rows: usize::MAX, direct: false }) };
}

/// The largest tile height that kernels called on this thread may use; no limit as a rule.
/// As for [`Isa::current`], kernels ask when they are called and not in their tasks, whose threads
/// nothing is forced on.
pub(crate) fn tile_rows_limit() -> usize {
    FORCED.get().tile_rows
}

/// Calls `body` with `isa` in force, and with matrix tiles of at most `tile_rows` rows: for
/// tests and benchmarks that compare paths. What else the thread's pool does meanwhile may be
/// forced too, since a thread that waits takes up other work. Tile heights change no bit of any result; nor
/// do instruction sets with a fused multiply-add.
///
/// # Panics
/// If this CPU lacks `isa` or `tile_rows` is 0.
pub fn with_forced<R>(isa: Isa, tile_rows: usize, body: impl FnOnce() -> R) -> R {
    assert!(isa.is_available(), "this CPU has no {isa}");
    assert!(tile_rows > 0, "a tile has at least one row");
    forced(Forced { isa: Some(isa), tile_rows, ..FORCED.get() }, body)
}

/// Calls `body` with every convolution computed directly, whatever the table of algorithms says:
/// for tests and benchmarks that compare them.
pub fn with_direct_convolution<R>(body: impl FnOnce() -> R) -> R {
    forced(Forced { direct: true, ..FORCED.get() }, body)
}

/// Whether convolutions called on this thread must be direct.
pub(crate) fn direct_only() -> bool {
    FORCED.get().direct
}

fn forced<R>(choice: Forced, body: impl FnOnce() -> R) -> R {
    struct Restore(Forced);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(choice));
    body()
}
