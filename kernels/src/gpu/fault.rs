//! What can go wrong with a device.

use std::fmt;
use std::time::Duration;

/// Why a device cannot be used, or cannot be used any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No device was found, or none that can run compute shaders.
    NoAdapter(String),
    /// The device offers less than the kernels need.
    TooSmall(String),
    /// The device has no memory left.
    OutOfMemory(String),
    /// The device is gone: a driver's reset, a card that was taken away.
    Lost(String),
    /// A submission did not end within this time.
    Timeout(Duration),
    /// The driver or wgpu refused something.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoAdapter(why) => write!(f, "no GPU was found: {why}"),
            Fault::TooSmall(what) => write!(f, "the GPU is too small: {what}"),
            Fault::OutOfMemory(what) => write!(f, "the GPU has no memory left: {what}"),
            Fault::Lost(why) => write!(f, "the GPU was lost: {why}"),
            Fault::Timeout(time) => {
                write!(f, "the GPU did not answer within {} seconds", time.as_secs_f64())
            }
            Fault::Refused(what) => write!(f, "the GPU's driver refused: {what}"),
        }
    }
}

impl std::error::Error for Fault {}
