//! Which peers does a pick look at, when it cannot look at all?

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::alone::Alone;

/// How many peers a pick looks at: those that come next in a shuffled order, and the short list.
pub(super) const SIZE: usize = NEXT + SHORT_LIST;
const NEXT: usize = 24;
/// The fastest that were met, so that a few fast peers among thousands are not found by luck alone.
const SHORT_LIST: usize = 8;
const NOBODY: u32 = u32::MAX;

/// Everybody who takes part is looked at once in a round; those who are looked at together are a draw without meaning,
/// for the order is shuffled once.
#[derive(Debug)]
pub(super) struct Sample {
    order: ArcSwap<Box<[u32]>>,
    at: Alone<AtomicUsize>,
    short_list: [AtomicU32; SHORT_LIST],
}

impl Sample {
    pub(super) fn new(count: usize) -> Sample {
        Sample {
            order: ArcSwap::from_pointee(shuffled((0..count).collect())),
            at: Alone::default(),
            short_list: std::array::from_fn(|_| AtomicU32::new(NOBODY)),
        }
    }

    /// Who takes part from now on.
    pub(super) fn set_present(&self, present: impl Iterator<Item = usize>) {
        self.order.store(shuffled(present.collect()).into());
    }

    /// Whom to look at, and whether it is on the short list. Now and then somebody comes twice.
    pub(super) fn draw(&self, mut look: impl FnMut(usize, bool)) {
        let order = self.order.load();
        let short_list = self.short_list.iter().map(|peer| peer.load(Relaxed)).filter(|peer| *peer != NOBODY);
        let at = self.at.fetch_add(NEXT, Relaxed) % order.len().max(1);
        let next = order[at..].iter().chain(&order[..at]).take(NEXT).copied();
        short_list.for_each(|peer| look(peer as usize, true));
        next.for_each(|peer| look(peer as usize, false));
    }

    /// A peer was the fastest of those that came next. It takes one place of the short list, a different one each time, if it
    /// is faster than who has it.
    pub(super) fn met(&self, fast: usize, pick: u64, is_faster_than: impl FnOnce(usize) -> bool) {
        let Ok(fast) = u32::try_from(fast) else { return };
        let listed = |place: &AtomicU32| place.load(Relaxed);
        if self.short_list.iter().any(|place| listed(place) == fast) {
            return;
        }
        let place = &self.short_list[(pick % SHORT_LIST as u64) as usize];
        let occupant = listed(place);
        if occupant == NOBODY || is_faster_than(occupant as usize) {
            place.store(fast, Relaxed);
        }
    }
}

/// In an order that looks random and is always the same. (Fisher and Yates; Knuth's MMIX generator.)
fn shuffled(peers: Vec<usize>) -> Box<[u32]> {
    let mut order: Box<[u32]> = peers.into_iter().filter_map(|peer| u32::try_from(peer).ok()).collect();
    let mut random = 1u64;
    for last in (1..order.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, ((u128::from(random) * (last as u128 + 1)) >> 64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sample: &Sample) -> Vec<usize> {
        let mut peers = Vec::new();
        sample.draw(|peer, _| peers.push(peer));
        peers
    }

    #[test]
    fn in_a_round_everybody_is_looked_at_once() {
        let sample = Sample::new(10 * NEXT);
        let mut round: Vec<usize> = (0..10).flat_map(|_| drawn(&sample)).collect();
        assert_ne!(round[..NEXT], (0..NEXT).collect::<Vec<_>>(), "shuffled");
        round.sort_unstable();
        assert_eq!(round, (0..10 * NEXT).collect::<Vec<_>>());
    }

    #[test]
    fn only_who_takes_part_is_drawn() {
        let sample = Sample::new(1_000);
        sample.set_present([3, 700].into_iter());
        let mut peers = drawn(&sample);
        peers.sort_unstable();
        assert_eq!(peers, [3, 700]);
        sample.set_present([].into_iter());
        assert!(drawn(&sample).is_empty());
    }

    #[test]
    fn the_short_list_keeps_the_fastest() {
        let sample = Sample::new(1_000);
        // The lower the faster.
        for (pick, peer) in (100..200).rev().chain(300..400).enumerate() {
            sample.met(peer, pick as u64, |occupant| peer < occupant);
        }
        let mut listed = drawn(&sample)[..SHORT_LIST].to_vec();
        listed.sort_unstable();
        assert_eq!(listed, (100..100 + SHORT_LIST).collect::<Vec<_>>());
        assert_eq!(drawn(&sample).len(), SIZE);
    }
}
