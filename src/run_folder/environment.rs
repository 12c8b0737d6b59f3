//! Where a run was made: what `env.json` keeps, so that a result can be understood later.

use std::fs::File;
use std::io::Read;

use serde::Serialize;
use serde_json::Value;

use super::{ENVIRONMENT, RunFolder};
use crate::error::Result;
use crate::files::{MAX_RESULT_BYTES, read_regular};

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
    /// The instruction set or device that computes.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// What identifies the data, as the data reader describes it.
    pub data: Value,
    /// The program and its arguments, as text.
    pub command_line: Vec<String>,
}

/// The key under which `env.json` lists the processes that went on with the run.
const RESUMED: &str = "resumed";

impl Environment {
    /// Writes `env.json` for a run that begins, or adds to it for one that goes on after `step`
    /// optimizer steps.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) that names the file.
    pub fn record(&self, run: &RunFolder, step: u64) -> Result<()> {
        let here = serde_json::to_value(self).expect("plain values");
        let content = match content(run) {
            Some(Value::Object(mut content)) if step > 0 => {
                let mut resumed = match content.remove(RESUMED) {
                    Some(Value::Array(resumed)) => resumed,
                    _ => Vec::new(),
                };
                resumed.push(serde_json::json!({ "after_step": step, "environment": here }));
                content.insert(RESUMED.to_owned(), resumed.into());
                Value::Object(content)
            }
            _ => here,
        };
        let content = serde_json::to_vec_pretty(&content).expect("plain values");
        run.write(ENVIRONMENT, &content)
    }

    /// Writes to `env.json` what identifies the data, now that all of it was read.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) that names the file.
    pub fn record_data(run: &RunFolder, data: &Value) -> Result<()> {
        let Some(Value::Object(mut content)) = content(run) else { return Ok(()) };
        content.insert("data".to_owned(), data.clone());
        let content = serde_json::to_vec_pretty(&content).expect("plain values");
        run.write(ENVIRONMENT, &content)
    }

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

/// What `env.json` holds, if it can be read.
fn content(run: &RunFolder) -> Option<Value> {
    let text = read_regular(&run.file(ENVIRONMENT), MAX_RESULT_BYTES).ok()?;
    serde_json::from_slice(&text).ok()
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
