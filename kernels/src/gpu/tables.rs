//! What the CPU computes once for many calls, since shaders have neither f64 nor libm: tables of
//! rows of words, kept on the device.

use std::sync::Mutex;

use super::context::locked;
use super::memory::Memory;
use crate::buffer::Kind;

/// The tables that were used last, the last one at the end, by what they follow from.
pub(super) struct Tables<K> {
    kept: Mutex<Vec<(K, Memory)>>,
}

/// Tables that are kept: one for each of two users that take turns.
const KEPT: usize = 2;

impl<K: Copy + PartialEq> Tables<K> {
    pub const fn new() -> Tables<K> {
        Tables { kept: Mutex::new(Vec::new()) }
    }

    /// The table that follows from `key`: a kept one, or else what `rows` gives.
    pub fn get<const WORDS: usize>(
        &self,
        key: K,
        rows: impl FnOnce() -> Vec<[u32; WORDS]>,
    ) -> Memory {
        if let Some(kept) = self.find(key) {
            return kept;
        }
        // Not under the lock: a worker that waits for others may take up another call of this.
        let rows = rows();
        let mut table = Memory::unspecified(Kind::Index, WORDS * rows.len());
        table.copy_from(bytemuck::cast_slice(&rows));
        let mut kept = locked(&self.kept);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((key, table.clone()));
        table
    }

    fn find(&self, key: K) -> Option<Memory> {
        let mut kept = locked(&self.kept);
        let place = kept.iter().position(|(known, _)| *known == key)?;
        let found = kept.remove(place);
        let table = found.1.clone();
        kept.push(found);
        Some(table)
    }
}
