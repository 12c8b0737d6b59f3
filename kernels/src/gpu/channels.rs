//! Sums over images and pixels, a channel at a time: of parts of the batch first, where it is
//! large, and then of the parts.

use super::dispatch::{Dispatch, WORKGROUP};
use super::memory::Memory;
use crate::buffer::Kind;

/// The most channels side by side in a workgroup: as many as are read together.
const WIDE_STRIP: usize = 64;
/// The same where there are few rows: more threads a channel, and still whole sectors of memory.
const NARROW_STRIP: usize = 8;
/// So few rows are not worth a second dispatch.
const FEW_ROWS: usize = 256;
/// The least rows that a thread goes through before its sum is merged with others.
const LEAST_ROWS: usize = 16;
/// As many rows as a thread goes through where there are thousands of columns.
const FEW_ROWS_OF_THREAD: usize = 8;
/// As many workgroups keep a large card busy.
const ENOUGH_WORKGROUPS: usize = 1024;

/// How a matrix [rows, channels] is cut among workgroups; a function of the two sizes, and with it
/// the order of every sum. See `parts/columns.wgsl`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    rows: usize,
    channels: usize,
    /// Channels of a workgroup.
    strip: usize,
    /// Rows of a workgroup.
    pub part_rows: usize,
}

impl Cut {
    /// The cut for a first dispatch, which leaves something of each part and channel.
    pub fn new(rows: usize, channels: usize) -> Cut {
        if rows <= FEW_ROWS {
            return Cut::whole(rows, channels);
        }
        let strip = strip(channels, WIDE_STRIP);
        let most = ENOUGH_WORKGROUPS / channels.div_ceil(strip).max(1);
        let parts = (rows * strip / (WORKGROUP * LEAST_ROWS)).min(most).max(1);
        Cut { rows, channels, strip, part_rows: rows.div_ceil(parts) }
    }

    /// All rows in one part.
    pub fn whole(rows: usize, channels: usize) -> Cut {
        Cut { rows, channels, strip: strip(channels, NARROW_STRIP), part_rows: rows }
    }

    /// All rows in one part, few of them a thread: for thousands of columns.
    fn flat(rows: usize, channels: usize) -> Cut {
        let rows_at_once = rows.div_ceil(FEW_ROWS_OF_THREAD).next_power_of_two().min(WORKGROUP);
        Cut { rows, channels, strip: WORKGROUP / rows_at_once, part_rows: rows }
    }

    /// The cut for a second dispatch, which merges what the parts left.
    pub fn of_parts(&self) -> Cut {
        Cut::whole(self.parts(), self.channels)
    }

    /// How many parts there are; at least one.
    pub fn parts(&self) -> usize {
        self.rows.div_ceil(self.part_rows.max(1)).max(1)
    }

    /// Runs a shader over all parts and channels.
    pub fn run(&self, dispatch: Dispatch) {
        dispatch
            .constant("ROWS", self.rows as u32)
            .constant("CHANNELS", self.channels as u32)
            .constant("STRIP", self.strip as u32)
            .constant("PART_ROWS", self.part_rows as u32)
            .run_workgroups([self.parts(), self.channels.div_ceil(self.strip), 1]);
    }
}

/// The least channels side by side, at most `widest`, with which no more strips are needed.
fn strip(channels: usize, widest: usize) -> usize {
    channels.div_ceil(channels.div_ceil(widest).max(1)).max(1)
}

/// sums = the sums over the rows: [rows, channels] -> \[channels\]
pub(super) fn sum_rows(rows: usize, channels: usize, x: &Memory, sums: &mut Memory) {
    let sum = |cut: Cut, x: &Memory, sums: &Memory| {
        cut.run(Dispatch::new("channels", "sum_rows").read(x).write(sums));
    };
    let cut = Cut::new(rows, channels);
    if cut.parts() == 1 {
        return sum(cut, x, sums);
    }
    let parts = Memory::unspecified(Kind::Real, cut.parts() * channels);
    sum(cut, x, &parts);
    sum(cut.of_parts(), &parts, sums);
}

/// sums = the sums of slices, each summed up for itself: [slices, len] -> \[len\]
pub(super) fn sum_slices(slices: usize, len: usize, parts: &Memory, sums: &Memory) {
    Cut::flat(slices, len).run(Dispatch::new("channels", "sum_rows").read(parts).write(sums));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row belongs to one part, no part is empty, and a thread has a row to begin with.
    #[test]
    fn parts_are_all_rows() {
        for rows in [0, 1, 255, 256, 257, 1000, 4097, 25_088, 100_352, 3_211_264] {
            for channels in [1, 2, 3, 10, 32, 43, 64, 65, 100, 128, 1000, 100_000] {
                let cut = Cut::new(rows, channels);
                for cut in [cut, cut.of_parts(), Cut::flat(rows, channels)] {
                    let parts = cut.parts();
                    assert!(parts * cut.part_rows >= cut.rows, "{cut:?}");
                    assert!((parts - 1) * cut.part_rows < cut.rows.max(1), "{cut:?}");
                    assert!((1..=WORKGROUP).contains(&cut.strip), "{cut:?}");
                }
            }
        }
    }

    /// Large inputs fill a card of a hundred processors twice over, small ones take one dispatch.
    #[test]
    fn workgroups_fit_the_work() {
        let workgroups = |rows, channels: usize| {
            let cut = Cut::new(rows, channels);
            (cut.parts(), channels.div_ceil(cut.strip))
        };
        for (rows, channels) in [(100_352, 32), (25_088, 64), (1_000_000, 10), (2_000_000, 3)] {
            let (parts, strips) = workgroups(rows, channels);
            assert!((256..=1024).contains(&(parts * strips)), "{rows} {channels}: {parts}");
        }
        assert_eq!(workgroups(128, 10), (1, 2));
        assert_eq!(workgroups(1, 1), (1, 1));
    }
}
