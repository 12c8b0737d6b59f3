//! What the programs share: flags that mean the same everywhere, and how a program ends.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use toile::Device;
use toile::error::{Error, Result, plain};
use toile::recipe::limits::THREADS;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What every program may end by.
const EXIT_CODES: [(u8, &str); 6] = [
    (0, "done"),
    (1, "failure, data unobtainable included"),
    (2, "bad usage or bad input"),
    (4, "numbers not finite"),
    (5, "reading or writing storage failed"),
    (6, "device missing or failed"),
];

/// The end of a help text: examples, the environment and the exit codes, of which some are the
/// program's own.
pub fn after_help(examples: &str, reads_data: bool, own_exit_codes: &[(u8, &str)]) -> String {
    let mut exit_codes = [&EXIT_CODES, own_exit_codes].concat();
    exit_codes.sort_unstable();
    let exit_codes: Vec<_> =
        exit_codes.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}")).collect();
    let exit_codes = exit_codes.join("\n");
    let data_variable = match reads_data {
        true => "  TOILE_DATA_DIR     folder that holds the four Fashion-MNIST files\n",
        false => "",
    };
    format!(
        "\
{examples}

Environment:
{data_variable}\
\x20 TOILE_ISA          avx512, avx2 or portable, instead of the best that the CPU has
  RAYON_NUM_THREADS  worker threads when --threads is absent
  NO_COLOR           no colours
  RUST_LOG           logs on stderr: error, warn, info, debug or trace

Exit codes:
{exit_codes}"
    )
}

/// The exit code of a program that panicked.
const PANICKED: u8 = 1;

/// What computes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DeviceFlag {
    /// The processor
    Cpu,
    /// A graphics processor, where the build supports one
    Gpu,
}

impl DeviceFlag {
    /// The device, opened, if this build and this machine have it.
    ///
    /// # Errors
    /// [`Error::Device`] for a graphics processor that is not there or cannot be used.
    pub fn resolve(self) -> Result<Device> {
        match self {
            DeviceFlag::Cpu => Ok(Device::Cpu),
            DeviceFlag::Gpu => graphics_processor(),
        }
    }
}

#[cfg(feature = "gpu")]
fn graphics_processor() -> Result<Device> {
    match toile_kernels::gpu::open() {
        Ok(_) => Ok(Device::Gpu),
        Err(fault) => Err(Error::Device(format!(
            "{fault}; --device gpu needs a card with a driver for Vulkan, Metal or DX12; \
             --device cpu goes without"
        ))),
    }
}

#[cfg(not(feature = "gpu"))]
fn graphics_processor() -> Result<Device> {
    Err(Error::Device(
        "toile was built without GPU support; build it with --features gpu, or use --device cpu"
            .into(),
    ))
}

/// Reads `--threads`. Numbers above the limit pass: they are clamped, not refused.
pub fn parse_threads(text: &str) -> std::result::Result<u64, String> {
    match text.parse() {
        Ok(threads) if threads >= THREADS.least => Ok(threads),
        _ => Err(format!("must be a whole number, {} or more", THREADS.least)),
    }
}

/// How many threads work: as many as the flag says, else `RAYON_NUM_THREADS`, else, or where that
/// is 0, one for each processor; with a notice where these are not as many as somebody asked for.
pub fn threads(flag: Option<u64>) -> (usize, Option<String>) {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    let (name, asked) = match flag {
        Some(number) => ("--threads", Some(number.to_string())),
        None => (VARIABLE, std::env::var_os(VARIABLE).map(|text| text.to_string_lossy().into())),
    };
    let number = asked.as_ref().map(|text: &String| text.parse::<u64>());
    let processors = || std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let wanted = match number {
        Some(Ok(number)) if number > 0 => number,
        _ => processors(),
    };
    let threads = wanted.min(THREADS.most);
    let problem = match number {
        Some(Err(_)) => Some("is not a whole number"),
        Some(Ok(number)) if number > THREADS.most => Some("is more than toile uses"),
        _ => None,
    };
    let notice = problem
        .zip(asked)
        .map(|(problem, asked)| format!("notice: {name} {asked} {problem}; taking {threads}"));
    (usize::try_from(threads).expect("at most 64"), notice)
}

/// Writes the completions of a program's flags for a shell to stdout.
///
/// # Errors
/// [`Error::Storage`] if stdout does not take them; a reader that went away is no error.
fn write_completions<Flags: CommandFactory>(shell: Shell) -> Result<u8> {
    let mut command = Flags::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    match io::stdout().write_all(&script) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Storage(format!("cannot write to standard output: {fault}")))
        }
        _ => Ok(0),
    }
}

/// Lets `RUST_LOG` ask for logs on stderr; without it there are none.
fn start_logging() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into());
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    // Only a program that embeds this one could have set a subscriber before.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_colour)
        .try_init();
}

/// Writes the completions that were asked for, or runs the program, to its exit code; an error
/// is told on stderr.
pub fn exit<Flags: CommandFactory>(
    completions: Option<Shell>,
    program: impl FnOnce() -> Result<u8>,
) -> ExitCode {
    start_logging();
    // A panic has told its own message; its exit code is that of any failure.
    let ended = catch_unwind(AssertUnwindSafe(|| match completions {
        Some(shell) => write_completions::<Flags>(shell),
        None => program(),
    }));
    let Ok(result) = ended else {
        tell_error("this is a fault of toile itself; please report it with the lines above");
        return ExitCode::from(PANICKED);
    };
    let code = result.unwrap_or_else(|fault| {
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
