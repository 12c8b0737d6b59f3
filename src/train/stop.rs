//! How a run is asked to stop from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::progress::StopReason;

/// A request to end a run before its time, that a signal handler can make: the run finishes its
/// step and saves. Clones share the request.
///
/// Until the run has something to save, and once it was asked, there is nothing to wait for:
/// [`Stop::at_once`] then tells a handler to end the process.
#[derive(Clone, Debug)]
pub struct Stop {
    requested: Arc<AtomicUsize>,
    at_once: Arc<AtomicBool>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { requested: Arc::default(), at_once: Arc::new(AtomicBool::new(true)) }
    }
}

impl Stop {
    /// What a handler of SIGINT writes to [`Stop::requested_flag`].
    pub const INTERRUPT: usize = 1;
    /// What a handler of SIGTERM writes to [`Stop::requested_flag`].
    pub const TERMINATE: usize = 2;

    /// Where a handler writes its request; 0 is none.
    #[must_use]
    pub fn requested_flag(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.requested)
    }

    /// Set while a signal may end the process at once; a handler sets it with its request.
    #[must_use]
    pub fn at_once(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.at_once)
    }

    /// From here on a request is answered by saving.
    pub(super) fn answer_by_saving(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }

    /// The request, if there was one.
    pub(super) fn requested(&self) -> Option<StopReason> {
        match self.requested.load(Ordering::SeqCst) {
            Stop::INTERRUPT => Some(StopReason::Interrupted),
            Stop::TERMINATE => Some(StopReason::Terminated),
            _ => None,
        }
    }
}
