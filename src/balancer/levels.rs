//! Who has least to do, among too many to ask? An index of peers by how busy they are.

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use super::bits::Bits;

/// Each peer that takes part stands at a level: its requests in flight per weight, counted in requests of the heaviest
/// peer. Up to 16 each count is a level; above, an octave has eight, so peers of one level differ by less than an
/// eighth. All levels lie end to end in one set, so the least busy peer is the set's first member.
///
/// It says where a peer *was* when somebody last told; whoever picks asks the peer itself, and tells the index if it
/// was wrong.
#[derive(Debug)]
pub(super) struct Levels {
    set: Bits,
    /// How far apart the levels lie in the set, as a power of two.
    shift: u32,
    places: Box<[Place]>,
    weights: Box<[u32]>,
    heaviest: u32,
}

/// How busy; lower is less.
pub(super) type Level = u32;

/// Without a request.
pub(super) const IDLE: Level = 0;

/// Up to a million requests of the heaviest peer; busier peers are level.
const LEVELS: Level = EACH + STEPS * (20 - EACH.ilog2());
/// Below this, each count is a level.
const EACH: u32 = 16;
/// Levels of an octave above.
const STEPS: u32 = 8;

impl Levels {
    /// Nobody takes part yet.
    pub(super) fn new(weights: &[u32]) -> Levels {
        let shift = weights.len().next_power_of_two().ilog2();
        Levels {
            set: Bits::new((LEVELS as usize) << shift),
            shift,
            places: weights.iter().map(|_| Place::default()).collect(),
            weights: weights.iter().map(|weight| (*weight).max(1)).collect(),
            heaviest: weights.iter().copied().max().unwrap_or(1).max(1),
        }
    }

    /// The level of a peer with so many requests, of whose weight `ramp`/1024 counts.
    pub(super) fn level(&self, peer: usize, in_flight: u32, ramp: u32) -> Level {
        let share = u64::from(self.weights[peer]) * u64::from(ramp.max(1));
        let whole = u64::from(self.heaviest) * u64::from(super::FULL);
        // Below 2^20 * 2^32 * 2^10.
        let count = u64::from(in_flight.min(1 << 20));
        step(if share == whole { count } else { count * whole / share })
    }

    /// Whether a peer takes part from now on. `true`: that is news, and it must be [`update`](Levels::update)d.
    pub(super) fn set_present(&self, peer: usize, present: bool) -> bool {
        self.places[peer].present.swap(present, SeqCst) != present
    }

    /// Puts a peer where it belongs: at the level that `level` reads, or nowhere if that is `None` or it does not take
    /// part. `level` is asked anew until it has not changed meanwhile.
    pub(super) fn update(&self, peer: usize, level: impl Fn() -> Option<Level>) {
        let place = &self.places[peer];
        let target = || match level() {
            Some(level) if place.present.load(SeqCst) => level + 1,
            _ => OUT,
        };
        if place.claim() {
            place.settle(target, |from, to| {
                if from != OUT {
                    self.set.remove(self.position(from - 1, peer));
                }
                if to != OUT {
                    self.set.insert(self.position(to - 1, peer));
                }
            });
        }
    }

    /// Whether a peer that is at this level need not be [`update`](Levels::update)d.
    pub(super) fn knows(&self, peer: usize, level: Level) -> bool {
        let place = &self.places[peer];
        place.word.load(Relaxed) == level + 1 || !place.present.load(Relaxed)
    }

    /// Whether a peer stands at this level or a less busy one. Of a thread that asks after it changed what levels are read from,
    /// and one that moves the peer, one has seen what the other did: `false` also while somebody moves it, who must look
    /// again.
    pub(super) fn has_within(&self, peer: usize, level: Level) -> bool {
        // SeqCst, as are the changes: whoever moves it has claimed the word before he reads the level.
        (OUT + 1..=level + 1).contains(&self.places[peer].word.load(SeqCst))
    }

    /// The level of the least busy.
    pub(super) fn lowest(&self) -> Option<Level> {
        self.occupied(0)
    }

    /// The lowest level from this one on where somebody stands.
    fn occupied(&self, from: Level) -> Option<Level> {
        self.set.next(self.position(from, 0)).map(|position| (position >> self.shift) as Level)
    }

    /// All peers, less busy ones first, and each level from peer `start` on.
    pub(super) fn ascending(&self, start: usize) -> impl Iterator<Item = (Level, usize)> {
        let width = 1 << self.shift;
        let levels = iter::successors(self.lowest(), |level| self.occupied(level + 1));
        let mut parts = levels.flat_map(move |level| {
            let base = self.position(level, 0);
            [base + start..base + width, base..base + start]
        });
        let mut part = parts.next();
        iter::from_fn(move || {
            loop {
                let range = part.as_mut()?;
                match self.set.next(range.start) {
                    Some(found) if found < range.end => {
                        range.start = found + 1;
                        return Some(((found >> self.shift) as Level, found & (width - 1)));
                    }
                    _ => part = parts.next(),
                }
            }
        })
    }

    fn position(&self, level: Level, peer: usize) -> usize {
        (level as usize) << self.shift | peer
    }
}

fn step(count: u64) -> Level {
    match u32::try_from(count) {
        Ok(count) if count < EACH => count,
        _ => {
            let octave = count.ilog2();
            let within = (count >> (octave - STEPS.ilog2())) as u32 & (STEPS - 1);
            (EACH + STEPS * octave.saturating_sub(EACH.ilog2()) + within).min(LEVELS - 1)
        }
    }
}

/// Where a peer stands. One thread at a time moves it; another that wants to meanwhile leaves a note, and the first
/// looks again. So nobody waits, and the last look is never older than the last note.
#[derive(Debug, Default)]
struct Place {
    /// [`OUT`], or the level and one; with [`MOVING`] and [`AGAIN`].
    word: AtomicU32,
    present: AtomicBool,
}

const OUT: u32 = 0;
const MOVING: u32 = 1 << 30;
const AGAIN: u32 = 1 << 31;

impl Place {
    /// Whether the caller is to move the peer; if not, somebody does who will look again.
    fn claim(&self) -> bool {
        let mut word = self.word.load(SeqCst);
        loop {
            let claimed = if word & MOVING == 0 { word | MOVING } else { word | AGAIN };
            match self.word.compare_exchange_weak(word, claimed, SeqCst, SeqCst) {
                Ok(_) => return word & MOVING == 0,
                Err(seen) => word = seen,
            }
        }
    }

    /// Moves it until nobody has left a note meanwhile.
    fn settle(&self, target: impl Fn() -> u32, go: impl Fn(u32, u32)) {
        let mut from = self.word.load(SeqCst) & !(MOVING | AGAIN);
        loop {
            let to = target();
            if from != to {
                go(from, to);
            }
            if self.word.compare_exchange(from | MOVING, to, SeqCst, SeqCst).is_ok() {
                return;
            }
            self.word.store(to | MOVING, SeqCst);
            from = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FULL;
    use super::*;

    fn standing(in_flight: &[u32]) -> Levels {
        let levels = Levels::new(&vec![1; in_flight.len()]);
        for (peer, in_flight) in in_flight.iter().enumerate() {
            levels.set_present(peer, true);
            put(&levels, peer, *in_flight);
        }
        levels
    }

    fn put(levels: &Levels, peer: usize, in_flight: u32) {
        levels.update(peer, || Some(levels.level(peer, in_flight, FULL)));
    }

    fn order(levels: &Levels, start: usize) -> Vec<usize> {
        levels.ascending(start).map(|(_, peer)| peer).collect()
    }

    #[test]
    fn the_less_busy_come_first_and_the_level_in_turn() {
        let levels = standing(&[2, 0, 7, 0, 2]);
        assert_eq!(order(&levels, 0), [1, 3, 0, 4, 2]);
        assert_eq!(order(&levels, 2), [3, 1, 4, 0, 2]);
    }

    #[test]
    fn a_peer_moves_with_its_requests() {
        let levels = standing(&[1, 1, 1]);
        put(&levels, 0, 0);
        put(&levels, 1, 9);
        assert_eq!(order(&levels, 0), [0, 2, 1]);
        levels.update(0, || None);
        assert_eq!(order(&levels, 0), [2, 1]);
        put(&levels, 0, 2);
        assert_eq!(order(&levels, 0), [2, 0, 1]);
    }

    #[test]
    fn who_does_not_take_part_is_nowhere() {
        let levels = standing(&[0, 0]);
        levels.set_present(0, false);
        put(&levels, 0, 0);
        assert_eq!(order(&levels, 0), [1]);
        assert!(order(&Levels::new(&[]), 0).is_empty());
    }

    #[test]
    fn requests_are_counted_per_weight() {
        let levels = Levels::new(&[4, 1, 2]);
        let level = |peer, in_flight| levels.level(peer, in_flight, FULL);
        assert_eq!([level(0, 4), level(1, 1), level(2, 2)], [4, 4, 4]);
        assert_eq!([level(0, 1), level(1, 0), level(2, 1)], [1, 0, 2]);
        assert_eq!(levels.level(0, 1, FULL / 4), 4, "a quarter of its ramp is a quarter of its weight");
    }

    #[test]
    fn few_requests_are_told_apart_and_many_to_an_eighth() {
        let table = [(0, 0), (1, 1), (15, 15), (16, 16), (17, 16), (18, 17), (31, 23), (32, 24), (35, 24), (36, 25)];
        for (count, level) in table {
            assert_eq!(step(count), level, "{count}");
        }
        assert!((1..100_000).all(|count| step(count) <= step(count + 1)));
        assert_eq!([step(1 << 20), step(u64::MAX)], [LEVELS - 1; 2]);
        assert_eq!(step((1 << 20) - 1), LEVELS - 1);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let levels = Levels::new(&[u32::MAX, 1, 0]);
        assert_eq!(levels.level(1, u32::MAX, 0), LEVELS - 1);
        assert_eq!(levels.level(0, u32::MAX, FULL), LEVELS - 1);
        assert_eq!(levels.level(2, 0, FULL), 0);
    }

    #[test]
    fn whatever_threads_tell_at_once_the_last_word_counts() {
        let counts: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
        let levels = standing(&[0; 4]);
        let work = |thread: u32| {
            for round in 0..20_000u32 {
                let peer = (round + thread) as usize % 4;
                let tell = || levels.update(peer, || Some(levels.level(peer, counts[peer].load(SeqCst), FULL)));
                counts[peer].fetch_add(1, SeqCst);
                tell();
                if round % 100 > 0 {
                    counts[peer].fetch_sub(1, SeqCst);
                    tell();
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || work(thread));
            }
        });
        let told: Vec<(Level, usize)> = levels.ascending(0).collect();
        let mut due: Vec<(Level, usize)> =
            (0..4).map(|peer| (levels.level(peer, counts[peer].load(SeqCst), FULL), peer)).collect();
        due.sort_unstable();
        assert_eq!(told, due);
    }
}
