//! How many picks were there before this one, where nobody needs it exactly? Numbers that threads draw in blocks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::alone::Alone;

/// All numbers from 0 on, each once. A single thread gets them in order. Of several each has a block of its own, so that they
/// write to one word once a block and not with each number: when two processors want a word at once, it costs each of them more
/// than most of what else a pick does. So a thread may be behind the others, by [`STALE`] at most.
///
/// What is left of a block when its thread comes no more is missing. Threads of one place that come at the same moment may get
/// a number twice, or leave out a block. So this is for what may be uneven by a few.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Where the next block begins.
    next_block: Alone<AtomicU64>,
    /// The number that was given last in each place, and one.
    places: [Alone<AtomicU64>; PLACES],
}

/// The numbers of a block.
const BLOCK: u64 = 16;

/// So many threads get out of each other's way.
const PLACES: usize = 16;

/// A number that is as far behind belongs to a thread that was away: it takes a new block.
const STALE: u64 = 16 * BLOCK * PLACES as u64;

thread_local! {
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Threads take places in turn.
fn place() -> usize {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    PLACE.get().unwrap_or_else(|| {
        let place = TAKEN.fetch_add(1, Relaxed) % PLACES;
        PLACE.set(Some(place));
        place
    })
}

impl Numbers {
    pub(super) fn next(&self) -> u64 {
        let place = &self.places[place()];
        let number = place.load(Relaxed);
        let ends = number.is_multiple_of(BLOCK) || self.next_block.load(Relaxed).wrapping_sub(number) > STALE;
        let number = if ends { self.next_block.fetch_add(BLOCK, Relaxed) } else { number };
        place.store(number + 1, Relaxed);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(numbers: &Numbers, count: usize) -> Vec<u64> {
        (0..count).map(|_| numbers.next()).collect()
    }

    #[test]
    fn one_thread_gets_all_in_order() {
        assert!(here(&Numbers::default(), 1_000).into_iter().eq(0..1_000));
    }

    /// What a thread in this place gets.
    fn at(place: usize, numbers: &Numbers, count: usize) -> Vec<u64> {
        let thread = || {
            PLACE.set(Some(place));
            here(numbers, count)
        };
        std::thread::scope(|scope| scope.spawn(thread).join().expect("a number is always there"))
    }

    #[test]
    fn each_thread_has_a_block_of_its_own() {
        let numbers = Numbers::default();
        assert_eq!(at(0, &numbers, 3), [0, 1, 2]);
        assert!(at(1, &numbers, 18).into_iter().eq(16..34));
        assert!(at(0, &numbers, 14).into_iter().eq((3..16).chain(48..49)));
    }

    #[test]
    fn who_was_away_for_long_goes_on_where_the_others_are() {
        let numbers = Numbers::default();
        at(0, &numbers, 3);
        at(1, &numbers, 2 * STALE as usize);
        assert_eq!(at(0, &numbers, 1), [2 * STALE + BLOCK]);
    }

    #[test]
    fn of_threads_with_places_of_their_own_nobody_gets_what_another_has() {
        let numbers = Numbers::default();
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|place| {
                scope.spawn({
                    let numbers = &numbers;
                    move || at(place, numbers, 160 * BLOCK as usize)
                })
            });
            threads.into_iter().flat_map(|thread| thread.join().expect("a number is always there")).collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4 * 160 * BLOCK as usize);
    }
}
