//! Where in the order of turns is everybody? A walk that all workers share: one atomic addition a turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;

use super::alone::Alone;
use super::cycle::Turns;

/// Where a walk is, in words that mean something in another cycle, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Whose turn was the last; `None`: nobody's yet.
    pub last: Option<u32>,
    /// How much of the cycle lies behind, in 1/2^32.
    done: u64,
}

impl Place {
    /// After a turn of this peer, wherever that is.
    pub(super) fn after(peer: Option<u32>) -> Place {
        Place { last: peer, done: 0 }
    }

    /// Before the first turn.
    pub(super) const START: Place = Place { last: None, done: 0 };
}

/// Where a walk over a cycle began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Where it was before its first turn, in another cycle.
    before: Place,
    /// The first turn.
    pub start: u64,
}

impl Origin {
    /// At the first of all turns.
    pub(super) const START: Origin = Origin { before: Place::START, start: 0 };

    /// Goes on after the peer that had the last turn, or with the next one if it is gone. Of several turns it takes
    /// the one that is nearest to where the walk was.
    pub(super) fn new(turns: &[u32], before: Place) -> Origin {
        let start = before.last.map_or(0, |last| {
            let distance = |at: usize| ((at as u64) << 32).abs_diff(before.done * turns.len() as u64);
            let nearest_of =
                |peer: u32| (0..turns.len()).filter(|at| turns[*at] == peer).min_by_key(|at| distance(*at));
            match nearest_of(last) {
                Some(at) => at + 1,
                None => {
                    let following = turns.iter().min_by_key(|peer| (**peer < last, **peer));
                    following.and_then(|peer| nearest_of(*peer)).unwrap_or(0)
                }
            }
        });
        Origin { before, start: start as u64 }
    }

    /// Where the walk is at turn `cursor` of a cycle of this length.
    pub(super) fn place(&self, cursor: u64, length: usize, turn: impl Fn(usize) -> u32) -> Place {
        if cursor == self.start || length == 0 {
            return self.before;
        }
        let length = length as u64;
        let at = cursor.wrapping_sub(1) % length;
        Place { last: Some(turn(at as usize)), done: (at << 32) / length }
    }
}

/// The prepared turns, and the walk over them.
#[derive(Debug)]
struct Cycle {
    turns: Box<[u32]>,
    origin: Origin,
    cursor: Alone<AtomicU64>,
}

impl Cycle {
    /// As [`Origin::new`] goes on.
    fn new(turns: Box<[u32]>, before: Place) -> Cycle {
        let origin = Origin::new(&turns, before);
        Cycle { turns, origin, cursor: Alone(AtomicU64::new(origin.start)) }
    }

    fn len(&self) -> usize {
        self.turns.len()
    }

    fn at(&self, turn: u64) -> usize {
        self.turns[(turn % self.turns.len() as u64) as usize] as usize
    }

    fn place(&self) -> Place {
        self.origin.place(self.cursor.load(Relaxed), self.turns.len(), |at| self.turns[at])
    }
}

/// The walk over turns without a short cycle, like those of weights 99991 and 65537: a piece of them at a time. Who
/// comes to the middle of a piece prepares the next.
#[derive(Debug)]
pub(super) struct Stream {
    piece: ArcSwap<Piece>,
}

#[derive(Debug)]
struct Piece {
    walk: Cycle,
    /// What comes after; taken by whoever prepares the next piece. Others do not wait for it.
    rest: Mutex<Option<Turns>>,
    next: OnceLock<Arc<Piece>>,
}

/// How many turns a piece has, if they cost little.
const PIECE: usize = 4096;

/// How many looks at a weight the preparation of a piece may cost, unless there are very many weights: some 20 µs.
const LOOKS: usize = 4 * PIECE;

impl Stream {
    /// Goes on after the peer that had the last turn, as [`Origin::new`] says. There must be turns.
    pub(super) fn new(turns: Turns, origin: Place) -> Stream {
        Stream { piece: ArcSwap::from_pointee(Piece::new(turns, origin)) }
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> usize {
        loop {
            let piece = self.piece.load();
            let turn = piece.walk.cursor.fetch_add(1, Relaxed);
            let length = piece.walk.len() as u64;
            if turn >= length / 2 {
                piece.prepare_next();
            }
            match piece.next.get() {
                Some(next) if turn >= length => drop(self.piece.compare_and_swap(&piece, next.clone())),
                // At the end, and whoever prepares the next piece is not done: this one once more.
                _ => return piece.walk.at(turn),
            }
        }
    }

    pub(super) fn place(&self) -> Place {
        // How far the whole cycle is, nobody will miss.
        Place::after(self.piece.load().walk.place().last)
    }
}

impl Piece {
    fn new(mut turns: Turns, origin: Place) -> Piece {
        let length = (LOOKS / turns.distinct_weights().max(1)).clamp(64, PIECE);
        let piece: Box<[u32]> = turns.by_ref().take(length).collect();
        Piece { walk: Cycle::new(piece, origin), rest: Mutex::new(Some(turns)), next: OnceLock::new() }
    }

    fn prepare_next(&self) {
        if self.next.get().is_some() {
            return;
        }
        let rest = self.rest.try_lock().ok().and_then(|mut rest| rest.take());
        if let Some(rest) = rest {
            self.next.get_or_init(|| Arc::new(Piece::new(rest, Place::START)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cycle;
    use super::*;

    /// Nobody's cycle is shorter.
    const WEIGHTS: [(u32, u32); 3] = [(0, 100_003), (1, 65_537), (2, 3)];

    fn stream() -> Stream {
        Stream::new(cycle::turns(&WEIGHTS).expect_err("a long cycle"), Place::START)
    }

    #[test]
    fn pieces_are_joined_without_a_seam() {
        let due = cycle::turns(&WEIGHTS).expect_err("a long cycle");
        let stream = stream();
        for (turn, due) in due.take(5 * PIECE).enumerate() {
            assert_eq!(stream.next(), due as usize, "turn {turn}");
        }
    }

    #[test]
    fn several_workers_share_the_turns() {
        let stream = stream();
        let work = || {
            (0..10 * PIECE).fold([0u32; 3], |mut had, _| {
                had[stream.next()] += 1;
                had
            })
        };
        let had: Vec<[u32; 3]> = std::thread::scope(|scope| {
            let workers = [scope.spawn(work), scope.spawn(work)];
            workers.map(|worker| worker.join().expect("a turn does not panic")).into()
        });
        // A piece may be walked twice while the next is prepared, so not to the turn.
        let share = f64::from(had[0][0] + had[1][0]) / (20 * PIECE) as f64;
        assert!((0.59..0.62).contains(&share), "{share} where 0.604 was due");
    }

    #[test]
    fn a_stream_goes_on_after_the_peer_that_had_the_last_turn() {
        let turns = cycle::turns(&WEIGHTS).expect_err("a long cycle");
        let stream = Stream::new(turns, Place::after(Some(0)));
        assert_eq!([stream.next(), stream.next(), stream.next()], [1, 0, 1]);
        assert_eq!(stream.place().last, Some(1));
    }

    #[test]
    fn many_distinct_weights_make_short_pieces() {
        let peers: Vec<(u32, u32)> = (0..2_000).map(|peer| (peer, 100_003 + peer)).collect();
        let piece = Piece::new(cycle::turns(&peers).expect_err("a long cycle"), Place::START);
        assert_eq!(piece.walk.len(), 64);
    }
}
