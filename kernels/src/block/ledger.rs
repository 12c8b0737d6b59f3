//! What of a block is lent out.

use std::ops::Range;

/// Bytes of a block that someone reads or writes.
#[derive(Clone, PartialEq)]
pub(super) struct Loan {
    pub bytes: Range<usize>,
    pub writes: bool,
}

/// The loans of a block at present. No bytes at all clash with nothing, so they are not kept.
pub(super) struct Ledger {
    /// Nearly all blocks are lent to a kernel or two; for them no memory is taken. A place is
    /// free where its loan has no bytes.
    few: [Loan; 4],
    more: Vec<Loan>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { few: [const { FREE }; 4], more: Vec::new() }
    }
}

const FREE: Loan = Loan { bytes: 0..0, writes: false };

impl Ledger {
    /// Adds a loan, unless it overlaps with another and one of them writes: then it says false.
    #[must_use]
    pub fn add(&mut self, loan: Loan) -> bool {
        let clash = |other: &Loan| {
            let start = other.bytes.start.max(loan.bytes.start);
            let end = other.bytes.end.min(loan.bytes.end);
            (other.writes || loan.writes) && start < end
        };
        if self.few.iter().chain(&self.more).any(clash) {
            return false;
        }
        if !loan.bytes.is_empty() {
            match self.few.iter_mut().find(|place| place.bytes.is_empty()) {
                Some(place) => *place = loan,
                None => self.more.push(loan),
            }
        }
        true
    }

    /// Takes a loan off again.
    pub fn remove(&mut self, loan: &Loan) {
        if loan.bytes.is_empty() {
            return;
        }
        if let Some(place) = self.few.iter_mut().find(|place| *place == loan) {
            *place = FREE;
            return;
        }
        let position = self.more.iter().position(|other| other == loan);
        self.more.swap_remove(position.expect("a loan stays on the ledger"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the plain rule on a list, with many loans at once.
    #[test]
    fn loans_are_as_on_a_plain_list() {
        let (mut ledger, mut plain) = (Ledger::default(), Vec::<Loan>::new());
        let mut state = 1u32;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) % below) as usize
        };
        let (mut most, mut refused) = (0, 0);
        for _ in 0..5000 {
            if draw(5) < 2 && !plain.is_empty() {
                let loan = plain.swap_remove(draw(plain.len() as u32));
                ledger.remove(&loan);
                continue;
            }
            let start = draw(200);
            let loan = Loan { bytes: start..start + draw(20), writes: draw(3) == 0 };
            let free = plain.iter().all(|other| {
                let common = loan.bytes.clone().any(|byte| other.bytes.contains(&byte));
                !common || !(loan.writes || other.writes)
            });
            assert_eq!(ledger.add(loan.clone()), free);
            if free {
                plain.push(loan);
            }
            most = most.max(plain.len());
            refused += usize::from(!free);
        }
        assert!(most > 8 && refused > 100, "{most} at once, {refused} refused");
    }
}
