//! Where a run was made: what `env.json` keeps, so that a result can be understood later.

use std::fs::File;
use std::io::Read;

use serde::Serialize;
use serde_json::Value;

/// The content of `env.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// Version of this crate.
    pub toile: &'static str,
    /// Version of the compiler, where the build was told it in `RUSTC_VERSION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rustc: Option<&'static str>,
    /// Operating system.
    pub os: &'static str,
    /// Processor architecture.
    pub arch: &'static str,
    /// The processor's name, where the system tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Processors that the system offers to this process.
    pub cores: usize,
    /// The instruction set that the kernels use.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// What identifies the data, as the data reader describes it.
    pub data: Value,
    /// The program and its arguments, as text.
    pub command_line: Vec<String>,
}

impl Environment {
    /// Looks around, and adds what only the caller knows.
    #[must_use]
    pub fn gather(isa: &str, threads: usize, data: Value) -> Self {
        Self {
            toile: env!("CARGO_PKG_VERSION"),
            rustc: option_env!("RUSTC_VERSION"),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu: cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            isa: isa.to_owned(),
            threads,
            data,
            command_line: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
        }
    }
}

/// The first processor's name on Linux; other systems keep it elsewhere.
fn cpu_name() -> Option<String> {
    let mut text = Vec::new();
    File::open("/proc/cpuinfo").ok()?.take(1 << 16).read_to_end(&mut text).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    })
}
