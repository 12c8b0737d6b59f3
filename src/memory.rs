//! How much memory may be taken. What does not fit is refused before it begins: the system
//! would end the process somewhere in the middle, without a word.

use std::fs;

use crate::error::{Error, Result};

/// Refuses something that needs about `bytes` bytes where fewer are free; `advice` says what to
/// do about it. Where the system does not tell what is free, everything passes.
///
/// # Errors
/// [`Error::Input`] with both numbers.
pub(crate) fn require(bytes: u64, advice: &str) -> Result<()> {
    match free() {
        Some(free) if bytes > free => Err(Error::Input(format!(
            "memory: expected at most the {:.1} GiB that are free, this needs about {:.1} GiB; \
             {advice}",
            gibibytes(free),
            gibibytes(bytes)
        ))),
        _ => Ok(()),
    }
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// The bytes that this process may still take, as Linux tells.
fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        Some(kibibytes(&text, "MemAvailable:")? + kibibytes(&text, "SwapFree:").unwrap_or(0))
    });
    // A container's own limit.
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse().ok());
    [machine, container, address_space()].into_iter().flatten().min()
}

/// What `ulimit -v` leaves of the address space.
fn address_space() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let most: u64 = line.split_whitespace().next()?.parse().ok()?;
    let taken = kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
    Some(most.saturating_sub(taken))
}

/// The bytes that a line such as `VmSize:  123 kB` tells.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_by_their_key() {
        let text = "MemTotal:  100 kB\nMemAvailable:     20 kB\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(20_480));
        assert_eq!(kibibytes(text, "SwapFree:"), None);
    }

    #[test]
    fn what_cannot_fit_is_refused() {
        assert!(require(0, "wait").is_ok());
        if free().is_some() {
            let fault = require(u64::MAX, "take less").expect_err("no machine has so much");
            assert_eq!(fault.exit_code(), 2);
            assert!(fault.to_string().contains("take less"), "{fault}");
        }
    }
}
