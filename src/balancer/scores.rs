//! What does a pick of least_time compare? Two words a peer, side by side in memory, which whoever uses the peer keeps right.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::Member;
use super::alone::Alone;
use super::best::Best;
use super::capacity::{Capacity, OUT};
use super::sample::Drawn;
use super::speed::Speed;
use super::units::units;

/// How fast and how busy everybody is, as of what was told last: by the leases when a request begins, when a head comes and
/// when a request ends, and by whoever looks at all peers. So a pick reads 16 bytes a peer, one after the other, and
/// computes nothing of what only a request changes.
///
/// A word says something of its own peer alone. Of two threads that tell of one peer at once, the one that is done last
/// has read what is so after the other's change: see [`update`](Scores::update). A word that is wrong all the same is
/// right again with the next request there, or when all are looked at.
#[derive(Debug)]
pub(super) struct Scores {
    words: Box<[Words]>,
    capacities: Box<[Capacity]>,
    /// The lowest load of a peer with a request, whoever it is.
    least_busy: u64,
    /// The lowest of the speeds; [`UNKNOWN`] from when it grew until somebody needs it.
    fastest: Alone<AtomicU64>,
    /// The turn that was taken last.
    turn: Alone<AtomicU32>,
}

/// What is known of one peer: on one line, for of very many peers each pick reads others.
#[derive(Debug)]
#[repr(align(16))]
struct Words {
    /// A [`Speed`].
    speed: AtomicU64,
    /// How busy: the requests the peer would have, in the group's [`units`] per request of its weight (upper half; [`OUT`]: it
    /// gets none). Whose turn it is among those that are level: the lower goes first (lower half).
    load: AtomicU64,
}

/// No speed: that of 0 µs is a step of 20 ms.
const UNKNOWN: u64 = 0;
/// The lower half of a load.
pub(super) const TURN: u64 = u32::MAX as u64;
/// The most that a turn may cost.
const LONGEST_TURN: u32 = 1 << 16;
/// When turns are counted anew from a lower number, long before they overflow.
const LAST_TURN: u32 = 1 << 31;

impl Scores {
    /// Everybody is there, idle, and nothing is known of how fast they are.
    pub(super) fn new(members: &[Member<'_>]) -> Scores {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let capacity = |(member, unit): (&Member<'_>, u32)| Capacity::new(unit, member.max_conns);
        let idle = |capacity: &Capacity| Words {
            speed: AtomicU64::new(Speed::default().word()),
            load: AtomicU64::new(u64::from(capacity.load(0)) << 32),
        };
        let capacities: Box<[Capacity]> = members.iter().zip(units(&weights)).map(capacity).collect();
        let least_unit = capacities.iter().map(|capacity| capacity.unit).min().unwrap_or(1);
        Scores {
            words: capacities.iter().map(idle).collect(),
            capacities,
            least_busy: (2 * u64::from(least_unit)) << 32,
            fastest: Alone::default(),
            turn: Alone::default(),
        }
    }

    /// Whether a peer takes part from now on. To be [`update`](Scores::update)d after that.
    pub(super) fn set_present(&self, peer: usize, present: bool) {
        self.capacities[peer].set_present(present);
    }

    /// How much of its weight a peer has, in 1/1024. To be [`update`](Scores::update)d after that.
    pub(super) fn set_ramp(&self, peer: usize, ramp: u32) {
        self.capacities[peer].set_ramp(ramp);
    }

    /// Something of a peer changed. `in_flight` reads its count anew each time.
    ///
    /// It is read until it agrees with the word: whoever wrote the word in between has changed it for a count that may be
    /// older than this thread's. So of all threads that tell, the last one to be done has compared the word with a count
    /// that none of them has changed since, and no end of a request is lost. (SeqCst: counts and words are different
    /// atomics, and a thread that changed the count must not miss the word of one that has not seen the change.)
    pub(super) fn update(&self, peer: usize, speed: Speed, in_flight: &dyn Fn() -> u32) {
        let word = &self.words[peer].load;
        let capacity = &self.capacities[peer];
        let mut seen = word.load(SeqCst);
        loop {
            let load = capacity.load_or_out(in_flight());
            let due = u64::from(load) << 32 | seen & TURN;
            if due != seen {
                seen = word.compare_exchange(seen, due, SeqCst, SeqCst).map_or_else(|now| now, |_| due);
                continue;
            }
            // Who gets no requests is not the fastest of those who do.
            self.set_speed(peer, if load == OUT { Speed::NONE } else { speed });
            let now = word.load(SeqCst);
            if is_out(now) == (load == OUT) {
                return;
            }
            seen = now;
        }
    }

    /// How fast a peer that gets requests is.
    pub(super) fn set_speed(&self, peer: usize, speed: Speed) {
        let speed = speed.word();
        let before = self.words[peer].speed.load(Relaxed);
        if before == speed {
            return;
        }
        self.words[peer].speed.store(speed, SeqCst);
        let fastest = self.fastest.load(Relaxed);
        // At worst the fastest is a little out of date until the next one changes, or all are looked at.
        if speed < fastest {
            self.fastest.store(speed, Relaxed);
        } else if before == fastest {
            self.fastest.store(UNKNOWN, Relaxed);
        }
    }

    /// Forgets who is the fastest, in case it was told wrongly.
    pub(super) fn forget_fastest(&self) {
        self.fastest.store(UNKNOWN, Relaxed);
    }

    pub(super) fn speed(&self, peer: usize) -> Speed {
        Speed::of_word(self.words[peer].speed.load(Relaxed))
    }

    /// The fastest of those that take part.
    pub(super) fn fastest(&self) -> Speed {
        let known = self.fastest.load(Relaxed);
        if known != UNKNOWN {
            return Speed::of_word(known);
        }
        let fastest = self.words.iter().map(|words| words.speed.load(Relaxed)).min().unwrap_or(Speed::NONE.word());
        self.fastest.store(fastest, Relaxed);
        Speed::of_word(fastest)
    }

    /// Hands over those of some neighbours that have requests, or that are out.
    pub(super) fn busy_in(&self, some: Range<usize>, mut busy: impl FnMut(usize)) {
        let first = some.start;
        let is_busy = |words: &Words| words.load.load(Relaxed) >= self.least_busy;
        let (fours, rest) = self.words.get(some).unwrap_or_default().as_chunks::<4>();
        let mut look_at = |from: usize, words: &[Words]| {
            for (peer, words) in (from..).zip(words) {
                if is_busy(words) && words.load.load(Relaxed) >> 32 > u64::from(self.capacities[peer].unit) {
                    busy(peer);
                }
            }
        };
        for (at, four) in fours.iter().enumerate() {
            if four.iter().any(is_busy) {
                look_at(first + 4 * at, four);
            }
        }
        look_at(first + 4 * fours.len(), rest);
    }

    /// For how many ms a peer's unfinished requests have been waiting.
    pub(super) fn set_unfinished(&self, peer: usize, millis: Option<u64>) {
        let speed = self.speed(peer);
        if speed != Speed::NONE {
            self.set_speed(peer, speed.with_unfinished(millis));
        }
    }

    /// The fastest of some neighbours.
    pub(super) fn fastest_in(&self, some: Range<usize>) -> Speed {
        let (fours, rest) = self.words.get(some).unwrap_or_default().as_chunks::<4>();
        let speed = |words: &Words| words.speed.load(Relaxed);
        let of_four = |[a, b, c, d]: &[Words; 4]| speed(a).min(speed(b)).min(speed(c).min(speed(d)));
        let none = Speed::NONE.word();
        Speed::of_word(rest.iter().map(speed).fold(fours.iter().map(of_four).fold(none, u64::min), u64::min))
    }

    /// The best of a sample, compared with the fastest of it.
    pub(super) fn best_drawn(&self, fastest: Speed, drawn: &Drawn) -> Option<usize> {
        let mut best = Best::than(fastest);
        drawn.short_list.iter().for_each(|peer| self.offer(&mut best, *peer));
        drawn.next.iter().for_each(|some| self.offer_neighbours(&mut best, some.clone()));
        best.peer()
    }

    /// The best of all, compared with the fastest.
    pub(super) fn best(&self) -> Option<usize> {
        let mut best = Best::than(self.fastest());
        self.offer_neighbours(&mut best, 0..self.words.len());
        best.peer()
    }

    #[inline(always)]
    fn offer_neighbours(&self, best: &mut Best, some: Range<usize>) {
        let first = some.start;
        let (fours, rest) = self.words.get(some).unwrap_or_default().as_chunks::<4>();
        let offer = |best: &mut Best, peer: usize, Words { speed, load }: &Words| {
            best.offer(peer, load.load(Relaxed), || Speed::of_word(speed.load(Relaxed)));
        };
        for (at, four) in fours.iter().enumerate() {
            // Nearly always none: that is what this loop costs.
            if four.iter().any(|words| best.may_be(words.load.load(Relaxed))) {
                four.iter().enumerate().for_each(|(i, words)| offer(best, first + 4 * at + i, words));
            }
        }
        rest.iter().enumerate().for_each(|(i, words)| offer(best, first + 4 * fours.len() + i, words));
    }

    #[inline(always)]
    fn offer(&self, best: &mut Best, peer: usize) {
        best.offer(peer, self.words[peer].load.load(Relaxed), || self.speed(peer));
    }

    /// The best of all but a few, compared with the fastest of all.
    pub(super) fn best_but(&self, few: &[usize]) -> Option<usize> {
        let mut best = Best::than(self.fastest());
        let others = (0..self.words.len()).filter(|peer| !few.contains(peer));
        others.for_each(|peer| self.offer(&mut best, peer));
        best.peer()
    }

    /// The best of some, compared with the fastest of them.
    pub(super) fn best_of(&self, fastest: Speed, peers: impl Iterator<Item = usize>) -> Option<usize> {
        let mut best = Best::than(fastest);
        peers.for_each(|peer| self.offer(&mut best, peer));
        best.peer()
    }

    /// The best of peers whose speed and requests in flight were asked for, whatever is known here.
    pub(super) fn best_by(&self, peers: impl Iterator<Item = (usize, Speed, u32)> + Clone) -> Option<usize> {
        let fastest = peers.clone().map(|(_, speed, _)| speed).min()?;
        let mut best = Best::than(fastest);
        for (peer, speed, in_flight) in peers {
            let turn = self.words[peer].load.load(Relaxed) & TURN;
            best.offer(peer, u64::from(self.capacities[peer].load(in_flight)) << 32 | turn, || speed);
        }
        best.peer()
    }

    /// A peer was picked: among those that are level it is behind now, by what a request counts there. It does not get what
    /// it let pass while it was not among them.
    pub(super) fn take_turn(&self, peer: usize) {
        let word = &self.words[peer].load;
        let seen = word.load(Relaxed);
        let last = self.turn.load(Relaxed);
        let turn = ((seen & TURN) as u32).max(last);
        if turn != last {
            self.turn.store(turn, Relaxed);
        }
        let next = turn + self.capacities[peer].load(0).min(LONGEST_TURN);
        // Once: if the word changed meanwhile, somebody else uses the peer, and it is one turn ahead.
        _ = word.compare_exchange(seen, seen & !TURN | u64::from(next), Relaxed, Relaxed);
        if next >= LAST_TURN {
            self.count_anew();
        }
    }

    /// Half of all turns is forgotten.
    #[cold]
    fn count_anew(&self) {
        let earlier = |turn: u32| turn.saturating_sub(LAST_TURN / 2);
        for Words { load, .. } in &self.words {
            let shifted = |word: u64| Some(word & !TURN | u64::from(earlier(word as u32)));
            _ = load.fetch_update(SeqCst, SeqCst, shifted);
        }
        self.turn.store(earlier(self.turn.load(Relaxed)), Relaxed);
    }
}

fn is_out(word: u64) -> bool {
    word >> 32 == u64::from(OUT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::FULL;
    use super::super::speed::Expectation;
    use super::*;

    fn members(peers: &[(u32, u32)]) -> Vec<Member<'static>> {
        let member = |(weight, max_conns): &(u32, u32)| Member {
            weight: *weight,
            ring_text: "",
            max_conns: *max_conns,
            fail_timeout: Duration::from_secs(10),
        };
        peers.iter().map(member).collect()
    }

    fn equal(count: usize) -> Scores {
        Scores::new(&members(&vec![(1, 0); count]))
    }

    fn speed(micros: u64) -> Speed {
        Speed::new(Expectation { millis: micros / 1_000, micros }, None)
    }

    /// So many µs and requests in flight each.
    fn told(peers: &[(u64, u32)]) -> Scores {
        let scores = equal(peers.len());
        peers.iter().enumerate().for_each(|(peer, (micros, in_flight))| {
            scores.update(peer, speed(*micros), &|| *in_flight);
        });
        scores
    }

    fn picks(scores: &Scores, count: usize) -> String {
        let pick = |_| {
            let peer = scores.best()?;
            scores.take_turn(peer);
            Some(char::from(b'a' + peer as u8))
        };
        (0..count).map(|i| pick(i).unwrap_or('-')).collect()
    }

    #[test]
    fn steps_of_20_ms_times_the_requests_there_would_be_are_compared() {
        type Peers<'a> = &'a [(u64, u32)];
        let table: [(Peers<'_>, &str); 8] = [
            (&[(0, 0), (0, 0), (0, 0)], "abcabc"),
            (&[(250_000, 0), (40_000, 0), (90_000, 0)], "bbb"),
            (&[(18_000, 0), (22_000, 0)], "abab"),   // level, though a step apart
            (&[(25_000, 0), (10_000, 1)], "abab"),   // 40 * 1, 20 * 2
            (&[(25_000, 0), (10_000, 2)], "aaaa"),   // 40 * 1, 20 * 3
            (&[(100_000, 0), (125_000, 0)], "abab"), // a quarter
            (&[(100_000, 0), (125_001, 0)], "aaaa"),
            (&[(1_000, 0), (19_000, 0)], "abab"), // the same step
        ];
        for (peers, due) in table {
            assert_eq!(picks(&told(peers), due.len()), due, "{peers:?}");
        }
    }

    #[test]
    fn those_that_are_level_take_turns_by_weight() {
        // Two of a's requests count as one of b's: 40 / 2 is 20 / 1.
        let scores = Scores::new(&members(&[(2, 0), (1, 0)]));
        scores.update(0, speed(30_000), &|| 0);
        scores.update(1, speed(10_000), &|| 0);
        assert_eq!(picks(&scores, 9), "abaabaaba");
    }

    #[test]
    fn who_was_not_level_gets_no_turns_for_that_afterwards() {
        let scores = told(&[(0, 0), (90_000, 0), (0, 0)]);
        assert_eq!(picks(&scores, 100).matches('b').count(), 0);
        scores.update(1, speed(0), &|| 0);
        assert_eq!(picks(&scores, 7), "babcabc");
    }

    #[test]
    fn turns_go_on_when_they_are_counted_anew() {
        let scores = equal(3);
        scores.turn.store(LAST_TURN - 3, Relaxed);
        assert_eq!(picks(&scores, 20), "abcabcabcabcabcabcab");
        assert!(scores.turn.load(Relaxed) < LAST_TURN);
    }

    #[test]
    fn a_peer_that_is_full_or_absent_is_out_until_it_is_not() {
        let scores = Scores::new(&members(&[(1, 2), (1, 0)]));
        scores.update(1, speed(0), &|| 7);
        for (in_flight, due) in [(1, "aa"), (2, "bb"), (3, "bb"), (1, "aa")] {
            scores.update(0, speed(0), &|| in_flight);
            assert_eq!(picks(&scores, 2), due, "{in_flight} of 2");
        }
        scores.set_present(0, false);
        scores.update(0, speed(0), &|| 0);
        assert_eq!(picks(&scores, 2), "bb");
        scores.set_present(1, false);
        scores.update(1, speed(0), &|| 0);
        assert_eq!(picks(&scores, 1), "-");
        scores.set_present(0, true);
        scores.update(0, speed(0), &|| 0);
        assert_eq!(picks(&scores, 1), "a");
    }

    #[test]
    fn the_fastest_is_known_whoever_becomes_faster_slower_or_full() {
        let scores = Scores::new(&members(&[(1, 1), (1, 1), (1, 1)]));
        let fastest = || scores.fastest().micros();
        for (peer, micros, in_flight, due) in [
            (0, 300, 0, 0), // of the others nothing is known yet
            (1, 200, 0, 0),
            (2, 400, 0, 200),
            (2, 100, 0, 100),
            (2, 500, 0, 200),
            (1, 200, 1, 300),
            (0, 900, 0, 500),
            (1, 200, 0, 200),
        ] {
            scores.update(peer, speed(micros), &|| in_flight);
            assert_eq!(fastest(), due, "peer {peer}: {micros} µs");
        }
    }

    #[test]
    fn a_peer_that_ramps_up_has_less_weight() {
        let scores = equal(2);
        scores.set_ramp(0, FULL / 4);
        scores.update(0, speed(0), &|| 0);
        for (in_flight, due) in [(2, "bb"), (3, "ab"), (4, "aa")] {
            scores.update(1, speed(0), &|| in_flight);
            assert_eq!(picks(&scores, 2), due, "b has {in_flight}");
        }
    }

    #[test]
    fn what_waits_counts_as_long_as_it_has_waited() {
        let scores = equal(2);
        let waiting = |millis| Speed::default().with_unfinished(millis);
        scores.update(0, waiting(Some(900)), &|| 0);
        assert_eq!(picks(&scores, 2), "bb");
        scores.update(0, waiting(None), &|| 0);
        assert_eq!(picks(&scores, 5), "aabab");
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let scores = Scores::new(&members(&[(1, 0), (u32::MAX, 0)]));
        let slowest = Speed::new(Expectation { millis: u64::from(u32::MAX), micros: u64::MAX }, Some(u64::MAX));
        scores.set_ramp(0, 0);
        scores.update(0, slowest, &|| u32::MAX);
        scores.update(1, slowest, &|| 5);
        assert_eq!(picks(&scores, 2), "bb");
        assert_eq!(scores.fastest(), slowest);
    }

    #[test]
    fn whatever_threads_tell_at_once_the_last_word_counts() {
        let counts: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
        let scores = Scores::new(&members(&[(1, 2); 4]));
        let work = |thread: u32| {
            for round in 0..20_000u32 {
                let peer = (round + thread) as usize % 4;
                let tell = || scores.update(peer, speed(10), &|| counts[peer].load(SeqCst));
                counts[peer].fetch_add(1, SeqCst);
                tell();
                _ = scores.best().is_some_and(|best| {
                    scores.take_turn(best);
                    true
                });
                if round < 20_000 - thread {
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
        // 0 to 2 of each thread's requests are left, in some places more than fit.
        for (peer, count) in counts.iter().enumerate() {
            let load = scores.words[peer].load.load(SeqCst) >> 32;
            let due = scores.capacities[peer].load_or_out(count.load(SeqCst));
            assert_eq!(load, u64::from(due), "{count:?} at {peer}");
            assert_eq!(scores.speed(peer) == Speed::NONE, due == OUT, "{count:?} at {peer}");
        }
    }
}
