//! What the programs share: flags that mean the same everywhere, and how a program ends.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use toile::Device;
use toile::error::{Error, Result, plain};
use toile::recipe::limits::THREADS;

/// The last paragraphs of every help text.
pub const ENVIRONMENT_AND_EXIT_CODES: &str = "\
Environment:
  TOILE_DATA_DIR     folder that holds the four Fashion-MNIST files
  TOILE_ISA          avx512, avx2 or portable, instead of the best that the CPU has
  RAYON_NUM_THREADS  worker threads when --threads is absent
  NO_COLOR           no colours

Exit codes:
  0 done                          5 reading or writing storage failed
  1 failure, data unobtainable    6 device missing or failed
  2 bad usage or bad input       10 accuracy below --fail-under
  3 run folder in use             4 numbers not finite";

/// What computes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DeviceFlag {
    /// The processor
    Cpu,
    /// A graphics processor, where the build supports one
    Gpu,
}

impl DeviceFlag {
    /// The device, if this build can use it.
    ///
    /// # Errors
    /// [`Error::Device`] for a graphics processor.
    pub fn resolve(self) -> Result<Device> {
        match self {
            DeviceFlag::Cpu => Ok(Device::Cpu),
            DeviceFlag::Gpu => {
                Err(Error::Device("toile was built without GPU support; use --device cpu".into()))
            }
        }
    }
}

/// Reads `--threads`. Numbers above the limit pass: they are clamped, not refused.
pub fn parse_threads(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(threads) if threads >= THREADS.least => Ok(threads),
        _ => Err(format!("must be a whole number, {} or more", THREADS.least)),
    }
}

/// How many threads work: as many as the flag says, else `RAYON_NUM_THREADS`, else one for each
/// processor; with a notice where that is more than are of use.
pub fn threads(flag: Option<u64>) -> (usize, Option<String>) {
    let from_environment = || {
        let number = std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok()?;
        (number > 0).then_some(number)
    };
    let processors = || std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let wanted = flag.or_else(from_environment).unwrap_or_else(processors);
    let threads = wanted.min(THREADS.most);
    let notice = (flag.is_some() && wanted > threads)
        .then(|| format!("notice: --threads {wanted} is more than toile uses; taking {threads}"));
    (usize::try_from(threads).expect("at most 64"), notice)
}

/// Runs a program to its exit code; an error is told on stderr.
pub fn exit(program: impl FnOnce() -> Result<u8>) -> ExitCode {
    let code = program().unwrap_or_else(|fault| {
        tell_error(&fault.to_string());
        fault.exit_code()
    });
    ExitCode::from(code)
}

/// Tells an error on stderr; where stderr is closed, the exit code has to do.
pub fn tell_error(text: &str) {
    // Paths and names may hold anything, also what a terminal would obey.
    let lines: Vec<_> = text.lines().map(plain).collect();
    let _ = writeln!(io::stderr(), "error: {}", lines.join("\n"));
}
