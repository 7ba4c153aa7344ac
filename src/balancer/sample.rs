//! Which peers does a pick look at, when it cannot look at all?

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::numbers::Numbers;

/// A pick looks at so many blocks of peers that come next…
const BLOCKS: usize = 3;
/// … of so many that take part each…
const BLOCK: usize = 8;
/// … and at the fastest that were met, so that a few fast peers among thousands are not found by luck alone.
const SHORT_LIST: usize = 8;

/// Everybody who takes part is looked at once in a round, of which several threads have parts at once ([`Numbers`]). Those
/// who are looked at together are neighbours, so what is known of them lies on few lines: they are to be in an order without
/// meaning ([`Shuffled`](super::shuffled::Shuffled)).
#[derive(Debug)]
pub(super) struct Sample {
    picks: Numbers,
    /// Where each block begins, and the last one ends. They are replaced in place, so a pick meanwhile may look at others, or at
    /// nobody.
    starts: Box<[AtomicU32]>,
    blocks: AtomicUsize,
    /// Held while they are replaced.
    replacing: Mutex<()>,
    short_list: [AtomicU32; SHORT_LIST],
}

/// Whom to look at. Now and then somebody comes twice.
#[derive(Debug)]
pub(super) struct Drawn {
    pub short_list: [usize; SHORT_LIST],
    /// Those that come next, and between them some that do not take part.
    pub next: [Range<usize>; 2],
}

impl Drawn {
    pub(super) fn next(&self) -> impl Iterator<Item = usize> {
        self.next.iter().cloned().flatten()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.short_list.into_iter().chain(self.next())
    }
}

impl Sample {
    /// Of so many peers, which all take part.
    pub(super) fn new(count: usize) -> Sample {
        let sample = Sample {
            picks: Numbers::default(),
            starts: (0..count.div_ceil(BLOCK) + 2).map(|_| AtomicU32::new(0)).collect(),
            blocks: AtomicUsize::new(0),
            replacing: Mutex::default(),
            short_list: std::array::from_fn(|i| AtomicU32::new((i % count.max(1)) as u32)),
        };
        sample.set_present(0..count);
        sample
    }

    /// Who takes part from now on, in ascending order. They are asked for while nobody else replaces them.
    pub(super) fn set_present(&self, present: impl Iterator<Item = usize>) {
        // Whoever panicked under the lock has left somebody out at worst, until the next change.
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let set =
            |block: usize, peer: usize| self.starts[block].store(u32::try_from(peer).unwrap_or(u32::MAX), Relaxed);
        let (mut blocks, mut end) = (0, 0);
        for (i, peer) in present.enumerate() {
            if i % BLOCK == 0 {
                set(blocks, peer);
                blocks += 1;
            }
            end = peer + 1;
        }
        set(blocks, end);
        // Other blocks come together in each round: what takes turns among a few for ever does not do so evenly.
        if blocks > BLOCKS && blocks % BLOCKS == 0 {
            blocks += 1;
            set(blocks, end);
        }
        self.blocks.store(blocks, Relaxed);
    }

    /// About how many picks there were before this one.
    pub(super) fn next_pick(&self) -> u64 {
        self.picks.next()
    }

    /// Whom the pick of this number looks at.
    pub(super) fn draw(&self, pick: u64) -> Drawn {
        let place = |block: usize| self.starts[block].load(Relaxed) as usize;
        let blocks = self.blocks.load(Relaxed);
        let first = pick.wrapping_mul(BLOCKS as u64).checked_rem(blocks as u64).unwrap_or(0) as usize;
        let end = first + BLOCKS.min(blocks);
        let round_the_corner = end.saturating_sub(blocks);
        let next = place(first)..place(end - round_the_corner);
        let next = [next, if round_the_corner > 0 { place(0)..place(round_the_corner) } else { 0..0 }];
        Drawn { short_list: std::array::from_fn(|i| self.short_list[i].load(Relaxed) as usize), next }
    }

    /// A peer was the fastest of those that came next. It takes one place of the short list, a different one each time, if it
    /// is faster than who has it.
    pub(super) fn met(
        &self,
        pick: u64,
        is_faster_than: impl FnOnce(usize) -> bool,
        peer: impl FnOnce() -> Option<usize>,
    ) {
        let place = &self.short_list[(pick % SHORT_LIST as u64) as usize];
        let listed = |place: &AtomicU32| place.load(Relaxed) as usize;
        if is_faster_than(listed(place))
            && let Some(peer) = peer()
            && self.short_list.iter().all(|place| listed(place) != peer)
        {
            place.store(u32::try_from(peer).unwrap_or(0), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(sample: &Sample, picks: Range<u64>) -> Vec<usize> {
        picks.flat_map(|pick| sample.draw(pick).next().collect::<Vec<_>>()).collect()
    }

    #[test]
    fn in_a_round_everybody_is_looked_at_once() {
        const NEXT: usize = BLOCKS * BLOCK;
        let sample = Sample::new(10 * NEXT);
        assert!(next(&sample, 0..10).into_iter().eq(0..10 * NEXT));
        assert!(next(&sample, 10..11).into_iter().eq(0..2 * BLOCK), "others come together in the next");
        let sample = Sample::new(4 * BLOCK - 1);
        assert_eq!(next(&sample, 0..4).len(), 3 * (4 * BLOCK - 1));
        assert!(next(&sample, 0..2).into_iter().eq((0..4 * BLOCK - 1).chain(0..2 * BLOCK)));
    }

    #[test]
    fn who_is_absent_is_passed_over() {
        let sample = Sample::new(1_000);
        sample.set_present((0..1_000).filter(|peer| peer % 10 == 3));
        assert_eq!(sample.draw(1).next, [243..483, 0..0]);
        assert_eq!(sample.draw(4).next, [963..994, 3..163]);
        for (present, due) in [(3..4, [3..4, 0..0]), (0..0, [0..0, 0..0]), (7..9, [7..9, 0..0])] {
            sample.set_present(present);
            assert_eq!(sample.draw(5).next, due);
        }
    }

    #[test]
    fn the_short_list_keeps_the_fastest() {
        let sample = Sample::new(1_000);
        sample.short_list.iter().for_each(|place| place.store(999, Relaxed));
        // The lower the faster.
        for (pick, peer) in (100..200).rev().chain(300..400).enumerate() {
            sample.met(pick as u64, |listed| peer < listed, || Some(peer));
        }
        let mut listed = sample.draw(0).short_list;
        listed.sort_unstable();
        assert!(listed.into_iter().eq(100..100 + SHORT_LIST));
    }
}
