//! The look at all gradients before an update.

use super::dispatch::{Dispatch, WORKGROUP};
use super::memory::Memory;
use crate::buffer::Kind;
use crate::geometry::CheckGradients;

const FILE: &str = "check_gradients";

/// Numbers that a thread of the first pass looks at, where there are few enough: it waits for each.
const NUMBERS_OF_THREAD: usize = 4;

/// `summary[2]` becomes 1 if the loss `summary[0]` is finite and all gradients are below 2^63 in
/// magnitude, else 0; `summary[3]` what the update is to scale the gradients by, at most 1, so that
/// their norm is within the limit.
pub fn check_gradients(g: &CheckGradients, gradients: &Memory, summary: &mut Memory) {
    let parts = g.len().div_ceil(NUMBERS_OF_THREAD * WORKGROUP).clamp(1, WORKGROUP);
    let results = Memory::unspecified(Kind::Real, 3 * parts);
    let call = |entry| {
        Dispatch::new(FILE, entry)
            .constant("LEN", g.len)
            .constant("PARTS", parts as u32)
            .constant("LARGEST_NORM", g.largest_norm)
    };
    call("look").read(gradients).write(&results).run_workgroups([parts, 1, 1]);
    call("conclude").read(&results).write(summary).run_workgroups([1, 1, 1]);
}
