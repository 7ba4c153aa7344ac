//! Whose turn is next, while who takes part may change? One order for all workers, replaced in place.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use super::alone::Alone;
use super::cycle::{MAX_TURNS, Turns};
use super::walk::{Origin, Place, Stream};

/// The turns of a cycle, and how far everybody is in it. A turn costs one atomic addition and one read.
///
/// Another cycle is written over the one before it. A turn that is taken meanwhile is of either cycle, or at a place of both:
/// a peer it is in any case, and whoever has picked it asks whether it may have it. So there is nothing to wait for and
/// nothing to count, and one such turn may come out of order.
#[derive(Debug)]
pub(super) struct Order {
    /// Room for the longest cycle.
    turns: Box<[AtomicU32]>,
    /// How many there are; [`STREAM`] if they come without end.
    length: AtomicUsize,
    cursor: Alone<AtomicU64>,
    /// For weights whose cycle would be too long.
    stream: ArcSwapOption<Stream>,
    /// Held while it is replaced.
    origin: Mutex<Origin>,
}

const STREAM: usize = usize::MAX;

/// A turn that was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Whose it is.
    pub peer: usize,
    /// Where in the cycle, and how long that was.
    at: usize,
    length: usize,
}

impl Order {
    /// No turns yet; `longest` is how many there may be.
    pub(super) fn new(longest: u64) -> Order {
        Order {
            turns: (0..longest.min(MAX_TURNS)).map(|_| AtomicU32::new(0)).collect(),
            length: AtomicUsize::new(0),
            cursor: Alone::default(),
            stream: ArcSwapOption::empty(),
            origin: Mutex::new(Origin::START),
        }
    }

    /// How many turns there are before it repeats, as far as a pick cares.
    pub(super) fn len(&self) -> usize {
        // A cycle that is longer than the one before it is there when its length is.
        self.length.load(SeqCst)
    }

    /// The next turn, of so many.
    pub(super) fn next(&self, length: usize) -> Option<Turn> {
        if length == STREAM {
            return self.stream.load().as_ref().map(|stream| Turn { peer: stream.next(), at: 0, length });
        }
        let at = self.cursor.fetch_add(1, Relaxed).checked_rem(length as u64)? as usize;
        self.turn(at).map(|peer| Turn { peer, at, length })
    }

    /// Whose turn it was that many turns before this one, at most a cycle. `None`: that is not remembered.
    pub(super) fn earlier(&self, turn: Turn, by: usize) -> Option<usize> {
        if turn.length == STREAM {
            return None;
        }
        let by = by.min(turn.length);
        self.turn(if turn.at >= by { turn.at - by } else { turn.at + turn.length - by })
    }

    /// Whether [`earlier`](Order::earlier) turns are remembered.
    pub(super) fn remembers(&self) -> bool {
        self.len() != STREAM
    }

    fn turn(&self, at: usize) -> Option<usize> {
        self.turns.get(at).map(|peer| peer.load(Relaxed) as usize)
    }

    /// These are the turns from now on; it goes on where it was, or after `place`.
    pub(super) fn replace(&self, turns: Result<Box<[u32]>, Turns>, place: Option<Place>) {
        let mut origin = self.origin();
        let place = place.unwrap_or_else(|| self.place_since(&origin));
        match turns {
            Ok(turns) => {
                *origin = Origin::new(&turns, place);
                self.turns.iter().zip(&turns).for_each(|(turn, peer)| turn.store(*peer, Relaxed));
                self.cursor.store(origin.start, SeqCst);
                self.length.store(turns.len().min(self.turns.len()), SeqCst);
                self.stream.store(None);
            }
            Err(turns) => {
                self.stream.store(Some(Stream::new(turns, place).into()));
                self.length.store(STREAM, SeqCst);
            }
        }
    }

    pub(super) fn place(&self) -> Place {
        self.place_since(&self.origin())
    }

    fn place_since(&self, origin: &Origin) -> Place {
        match self.len() {
            STREAM => self.stream.load().as_ref().map_or(Place::START, |stream| stream.place()),
            length => origin.place(self.cursor.load(Relaxed), length, |at| self.turns[at].load(Relaxed)),
        }
    }

    fn origin(&self) -> MutexGuard<'_, Origin> {
        // Whoever panicked under the lock had a turn out of order at worst.
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cycle;
    use super::*;

    fn next(order: &Order, count: usize) -> Vec<Option<usize>> {
        (0..count).map(|_| order.next(order.len()).map(|turn| turn.peer)).collect()
    }

    #[test]
    fn turns_are_replaced_in_place() {
        let order = Order::new(4);
        assert_eq!(next(&order, 1), [None]);
        for (turns, place, due) in [
            (&[0, 1, 2, 3][..], None, &[0, 1, 2, 3, 0][..]),
            (&[0, 2], None, &[2, 0, 2]),
            (&[0, 1, 2], None, &[0, 1]),
            (&[0, 1, 2], Some(Place::after(Some(0))), &[1, 2, 0]),
        ] {
            order.replace(Ok(turns.into()), place);
            let due: Vec<Option<usize>> = due.iter().copied().map(Some).collect();
            assert_eq!(next(&order, due.len()), due, "{turns:?}");
        }
        order.replace(Ok([].into()), None);
        assert_eq!(next(&order, 1), [None]);
        assert_eq!(order.place().last, Some(0));
    }

    #[test]
    fn a_cycle_remembers_whose_turn_it_was() {
        let order = Order::new(4);
        order.replace(Ok([7, 5, 3].into()), None);
        let earlier = |by| order.next(order.len()).and_then(|turn| order.earlier(turn, by));
        // Turns of 7, 5, 3, 7, 5.
        assert_eq!([1, 1, 2, 0, 9].map(earlier), [3, 7, 7, 7, 5].map(Some));
        order.replace(cycle::turns(&[(0, 100_003), (1, 50_001)]), None);
        assert_eq!(earlier(1), None);
    }

    #[test]
    fn a_cycle_and_a_stream_follow_each_other() {
        let order = Order::new(u64::MAX);
        order.replace(cycle::turns(&[(0, 100_003), (1, 50_001)]), None);
        assert_eq!(order.len(), STREAM);
        assert_eq!(next(&order, 4), [Some(0), Some(1), Some(0), Some(0)]);
        order.replace(cycle::turns(&[(0, 1), (1, 1), (2, 1)]), None);
        assert_eq!(next(&order, 3), [Some(1), Some(2), Some(0)]);
        order.replace(cycle::turns(&[(0, 100_003), (1, 50_001)]), None);
        assert_eq!(next(&order, 1), [Some(1)]);
    }

    #[test]
    fn a_turn_that_is_taken_while_the_order_changes_is_somebodys() {
        let order = Order::new(64);
        order.replace(Ok((0..64).collect()), None);
        let replace = || (0..2_000u32).for_each(|i| order.replace(Ok((i % 8..i % 64).collect()), None));
        let pick = || (0..100_000).filter_map(|_| order.next(order.len())).all(|turn| turn.peer < 64);
        std::thread::scope(|scope| {
            scope.spawn(replace);
            assert!(pick());
        });
    }
}
