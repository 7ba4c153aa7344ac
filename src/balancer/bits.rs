//! Which is the next member of a large set? A set of numbers that any thread changes, without a lock.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Members as bits, and above each row of words another whose bits say which words below are not zero: 10,000 members
/// are three rows, so the next one is at most five words away.
///
/// While another thread is in the middle of a change, a member may be overlooked. Once all are done, none is.
#[derive(Debug)]
pub(super) struct Bits {
    rows: Box<[Row]>,
}

type Row = Box<[AtomicU64]>;

/// Bits of a word, as a power of two.
const SHIFT: u32 = u64::BITS.ilog2();

impl Bits {
    /// No members yet; room for those below `limit`.
    pub(super) fn new(limit: usize) -> Bits {
        let mut rows = Vec::new();
        let mut words = limit;
        loop {
            words = words.div_ceil(1 << SHIFT).max(1);
            rows.push((0..words).map(|_| AtomicU64::new(0)).collect());
            if words == 1 {
                return Bits { rows: rows.into() };
            }
        }
    }

    pub(super) fn insert(&self, at: usize) {
        insert_from(&self.rows, at);
    }

    pub(super) fn remove(&self, mut at: usize) {
        for (level, row) in self.rows.iter().enumerate() {
            let remains = row[at >> SHIFT].fetch_and(!bit(at), SeqCst) & !bit(at);
            // What was inserted below between its turn and this one must not be lost.
            if level > 0 && self.rows[level - 1][at].load(SeqCst) != 0 {
                return insert_from(&self.rows[level..], at);
            }
            if remains != 0 {
                return;
            }
            at >>= SHIFT;
        }
    }

    /// The first member that is not below `from`.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            match self.seek(from)? {
                Ok(member) => return Some(member),
                Err(further) => from = further,
            }
        }
    }

    /// Up until a word has something at or after `from`, then down to it. `Err`: it was gone on arrival, go on there.
    fn seek(&self, from: usize) -> Option<Result<usize, usize>> {
        let mut at = from;
        for (level, row) in self.rows.iter().enumerate() {
            let word = row.get(at >> SHIFT)?.load(SeqCst) & (u64::MAX << (at % 64));
            if word != 0 {
                at = first(at >> SHIFT, word);
                return Some(self.descend(level, at));
            }
            at = (at >> SHIFT) + 1;
        }
        None
    }

    fn descend(&self, level: usize, mut at: usize) -> Result<usize, usize> {
        for level in (0..level).rev() {
            let word = self.rows[level][at].load(SeqCst);
            if word == 0 {
                return Err((at + 1) << (SHIFT as usize * (level + 1)));
            }
            at = first(at, word);
        }
        Ok(at)
    }
}

fn insert_from(rows: &[Row], mut at: usize) {
    for row in rows {
        // Whoever made a word something says so above.
        if row[at >> SHIFT].fetch_or(bit(at), SeqCst) != 0 {
            return;
        }
        at >>= SHIFT;
    }
}

fn bit(at: usize) -> u64 {
    1 << (at % 64)
}

fn first(word_at: usize, word: u64) -> usize {
    word_at << SHIFT | word.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(bits: &Bits) -> Vec<usize> {
        std::iter::successors(bits.next(0), |at| bits.next(at + 1)).collect()
    }

    #[test]
    fn nobody_is_a_member_of_an_empty_set() {
        for limit in [0, 1, 64, 65, 100_000] {
            assert_eq!(Bits::new(limit).next(0), None, "{limit}");
        }
    }

    #[test]
    fn members_are_found_across_words_and_rows() {
        let bits = Bits::new(1_000_000);
        let all = [0, 63, 64, 4_095, 4_096, 262_143, 262_144, 999_999];
        all.iter().rev().for_each(|at| bits.insert(*at));
        assert_eq!(members(&bits), all);
        assert_eq!(bits.next(1_000_000), None);
        bits.remove(262_144);
        assert_eq!(bits.next(262_144), Some(999_999));
    }

    #[test]
    fn nothing_is_lost_or_left_over_when_threads_change_neighbours() {
        // Each thread has members of its own, all in the same words, and leaves every third.
        let bits = Bits::new(1 << 13);
        let change = |thread: usize| {
            for round in 0..20 {
                for at in (0..1 << 13).filter(|at| at % 4 == thread) {
                    bits.insert(at);
                    if round < 19 || at % 3 > 0 {
                        bits.remove(at);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || change(thread));
            }
        });
        assert_eq!(members(&bits), (0..1 << 13).filter(|at| at % 3 == 0).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((0usize..10_000, any::<bool>()), 0..300)) {
            let (bits, mut set) = (Bits::new(10_000), BTreeSet::new());
            for (at, there) in changes {
                if there { bits.insert(at); set.insert(at); } else { bits.remove(at); set.remove(&at); }
            }
            prop_assert_eq!(members(&bits), set.into_iter().collect::<Vec<_>>());
        }
    }
}
