//! How fast does a peer answer? (nginx: `ngx_http_upstream_least_time_module.c`)

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{Distribution, Histogram};
use super::speed::{Expectation, FailTimeout};
use crate::clock::Timestamp;

/// Which time `least_time` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Until the head of the answer.
    Header,
    /// Until its last byte.
    LastByte,
}

/// The moving averages of one peer, shared by all workers. Every request is announced by [`picked`](Latency::picked)
/// and ends exactly once, by [`finished`](Latency::finished) or [`failed`](Latency::failed).
#[derive(Debug, Default)]
pub struct Latency {
    header: Average,
    last_byte: Average,
    /// Requests without a head yet, if somebody goes by them.
    waiting: Ages,
    /// Requests that are not complete, if somebody goes by them.
    open: Ages,
    counts_waiting: AtomicBool,
    counts_open: AtomicBool,
    last_picked: AtomicU64,
    /// The averages are old: the next request's times count for most.
    doubted: AtomicBool,
    /// Times until the head, one by one: for who needs more than an average. Not there until somebody does.
    heads: OnceLock<Box<Histogram>>,
}

/// One request at one peer, from the pick on; the lease keeps it.
#[derive(Debug)]
#[must_use = "a request that was announced must end"]
pub struct Timing {
    began: Timestamp,
    head_seen: bool,
    /// It is among those without a head.
    waiting: bool,
    /// It is among those that are not complete.
    open: bool,
    share: Share,
}

impl Timing {
    /// When the peer was picked.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Whether the head of the answer has come.
    pub fn head_seen(&self) -> bool {
        self.head_seen
    }
}

/// The least that a failed attempt counts for: a connection that is refused at once is not fast.
const FAILURE: Duration = Duration::from_secs(1);

impl Latency {
    /// A request was given to the peer.
    pub fn picked(&self, now: Timestamp) -> Timing {
        let waiting = self.counts_waiting.load(Relaxed);
        if waiting {
            self.waiting.enter(now);
        }
        let open = self.counts_open.load(Relaxed);
        if open {
            self.open.enter(now);
        }
        // Of two threads that do so at once either may be the last: they differ by what a turn takes.
        if now.as_micros() > self.last_picked.load(Relaxed) {
            self.last_picked.store(now.as_micros(), Relaxed);
        }
        let doubted = self.doubted.load(Relaxed) && self.doubted.swap(false, Relaxed);
        let share = if doubted { Share::Most } else { Share::Twentieth };
        Timing { began: now, head_seen: false, waiting, open, share }
    }

    /// The head of the answer came, and is one to pass on (not one that counts as a failure). Later calls for the
    /// same request do nothing.
    pub fn header(&self, timing: &mut Timing, now: Timestamp) {
        if !timing.head_seen {
            if std::mem::take(&mut timing.waiting) {
                self.waiting.leave(timing.began);
            }
            timing.head_seen = true;
            let took = now.since(timing.began);
            self.header.add(took, timing.share);
            if let Some(heads) = self.heads.get() {
                heads.add(took);
            }
        }
    }

    /// The request is taken from the peer, which has not answered yet, because another was faster. It still has to end.
    /// Left out of the counts, it would make slow answers look as if there were none.
    pub fn outrun(&self, timing: &Timing, now: Timestamp) {
        if let Some(heads) = self.heads.get().filter(|_| !timing.head_seen) {
            heads.add(now.since(timing.began));
        }
    }

    /// The request is over and nobody failed: the answer is complete, or the client left. Without a head it says
    /// nothing about the peer; with one it counts, as in nginx.
    pub fn finished(&self, timing: Timing, now: Timestamp) {
        if timing.head_seen {
            self.last_byte.add(now.since(timing.began), timing.share);
        }
        self.leave(&timing);
    }

    /// The peer failed. Counts as slow: at least a second, and at least twice what is usual for the peer.
    /// (nginx leaves failures out, so that a peer that fails fast looks fast.)
    pub fn failed(&self, timing: Timing, now: Timestamp) {
        let elapsed = now.since(timing.began).max(FAILURE);
        let slow = |average: &Average| elapsed.max(average.exact().unwrap_or_default() * 2);
        self.last_byte.add(slow(&self.last_byte), timing.share);
        if !timing.head_seen {
            self.header.add(slow(&self.header), timing.share);
        }
        self.leave(&timing);
    }

    /// The moving average over the peer's requests; `None` before the first.
    pub fn average(&self, measure: Measure) -> Option<Duration> {
        self.of(measure).exact()
    }

    /// From now on, the times until the head are counted one by one. That stays so: it costs an addition a request.
    pub fn count_heads(&self) {
        self.heads.get_or_init(Box::default);
    }

    /// The times until the head, of all requests since [`count_heads`](Latency::count_heads) but those that failed;
    /// `None`: they are not counted.
    pub fn heads(&self) -> Option<Distribution> {
        self.heads.get().map(|heads| heads.counts())
    }

    /// From now on, it is known how many requests have no head yet, and since when; with [`Measure::LastByte`] also how many are
    /// not complete. That stays so: it costs two additions a request each. What
    /// [`Method::goes_by_unfinished`](super::Method::goes_by_unfinished) says.
    pub fn count_unfinished(&self, measure: Measure) {
        self.counts_waiting.store(true, Relaxed);
        if measure == Measure::LastByte {
            self.counts_open.store(true, Relaxed);
        }
    }

    /// When the peer was picked last; `None`: never.
    pub fn last_picked(&self) -> Option<Timestamp> {
        Some(Timestamp::micros(self.last_picked.load(Relaxed))).filter(|at| *at != Timestamp::ZERO)
    }

    /// Lets the next request's times count three quarters, since the averages are old.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Relaxed);
    }

    /// What to expect of the peer by its averages, which fade when it is not used. (nginx: `rt >>= idle / (fail_timeout + 1)`.)
    pub(super) fn expectation(&self, measure: Measure, fail_timeout: FailTimeout, now: Timestamp) -> Expectation {
        let Expectation { millis, micros } = self.unfaded(measure);
        // A pick asks this of several peers, so what is nearly always enough costs a comparison only.
        let last = self.last_picked.load(Relaxed);
        let idle = now.as_micros().saturating_sub(last);
        let fade = if last != 0 && idle > fail_timeout.micros {
            (idle / 1_000_000 / (fail_timeout.seconds + 1)).min(31)
        } else {
            0
        };
        Expectation { millis: millis >> fade, micros: micros >> fade }
    }

    /// What to expect of the peer by its averages, which is used just now.
    pub(super) fn unfaded(&self, measure: Measure) -> Expectation {
        let (millis, micros) = self.of(measure).load();
        Expectation { millis: u64::from(millis), micros: u64::from(micros) }
    }

    /// Requests that have no head yet, of those that [`count_unfinished`](Latency::count_unfinished) has seen begin.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.count()
    }

    /// A pick considers the peer: the age of its unfinished requests, if it has any, goes into their moving average.
    pub(super) fn observe_unfinished(&self, measure: Measure, now: Timestamp) {
        self.ages(measure).observe(now);
    }

    /// For how many milliseconds the unfinished requests have been waiting: a moving average over what was observed.
    /// `None` if there are none. (nginx: `inflight_time`.)
    pub(super) fn unfinished(&self, measure: Measure) -> Option<u64> {
        let ages = self.ages(measure);
        (ages.count() > 0).then(|| u64::from(ages.average.load(Relaxed)))
    }

    fn ages(&self, measure: Measure) -> &Ages {
        match measure {
            Measure::Header => &self.waiting,
            Measure::LastByte => &self.open,
        }
    }

    fn of(&self, measure: Measure) -> &Average {
        match measure {
            Measure::Header => &self.header,
            Measure::LastByte => &self.last_byte,
        }
    }

    fn leave(&self, timing: &Timing) {
        if timing.waiting {
            self.waiting.leave(timing.began);
        }
        if timing.open {
            self.open.leave(timing.began);
        }
    }
}

/// How much a new time counts in an average.
#[derive(Clone, Copy, Debug)]
enum Share {
    Twentieth,
    /// Three quarters.
    Most,
}

impl Share {
    /// `old` moved towards `new`, rounded to the nearest. (nginx: `floor(0.5 + 0.05 * new + 0.95 * old)`.)
    fn mix(self, old: u64, new: u64) -> u64 {
        match self {
            Share::Twentieth => (new + 19 * old + 10) / 20,
            Share::Most => (3 * new + old + 2) / 4,
        }
    }
}

/// A moving average, twice in one word: nginx's in whole milliseconds (upper half), and one in microseconds. nginx's
/// rounding makes an average stand still unless a time differs by 10 ms, so equal peers may look different for ever;
/// the finer one tells that they are equal. The word 0 is "no data".
#[derive(Debug, Default)]
struct Average(AtomicU64);

impl Average {
    fn add(&self, time: Duration, share: Share) {
        let new_micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
        let new_millis = new_micros / 1000;
        let word = self.0.load(Relaxed);
        let (millis, micros) = (word >> 32, word & u64::from(u32::MAX));
        let millis = if millis == 0 { new_millis } else { share.mix(millis, new_millis) };
        let micros = if micros == 0 { new_micros } else { share.mix(micros, new_micros) };
        // Of two threads that add at once one may go uncounted; an average can spare it.
        self.0.store(millis << 32 | micros.max(1), Relaxed);
    }

    fn load(&self) -> (u32, u32) {
        let word = self.0.load(Relaxed);
        ((word >> 32) as u32, word as u32)
    }

    fn exact(&self) -> Option<Duration> {
        let (_, micros) = self.load();
        (micros > 0).then(|| Duration::from_micros(u64::from(micros)))
    }
}

/// How old the unfinished requests are, together. One word, so that no reader sees half a change: the sum of the
/// times at which they began (ms, modulo 2^40) above their number (24 bits). nginx's `reqs`, `last` and `changed` say
/// the same.
#[derive(Debug, Default)]
struct Ages {
    word: AtomicU64,
    /// nginx's `time`.
    average: AtomicU32,
}

impl Ages {
    const COUNT_BITS: u32 = 24;
    const SUM_BITS: u32 = 40;

    fn enter(&self, began: Timestamp) {
        self.word.fetch_add(Self::entry(began), Relaxed);
    }

    fn leave(&self, began: Timestamp) {
        self.word.fetch_sub(Self::entry(began), Relaxed);
    }

    /// What falls off the top of the sum does not matter modulo 2^40.
    fn entry(began: Timestamp) -> u64 {
        began.as_millis() << Self::COUNT_BITS | 1
    }

    fn mean(&self, now: Timestamp) -> Option<u64> {
        let word = self.word.load(Relaxed);
        let count = word & ((1 << Self::COUNT_BITS) - 1);
        let began = word >> Self::COUNT_BITS;
        let total = count.wrapping_mul(now.as_millis()).wrapping_sub(began) & ((1 << Self::SUM_BITS) - 1);
        // A request that another thread began after this one's `now` makes the total negative: its top bit is set.
        let total = if total >> (Self::SUM_BITS - 1) == 0 { total } else { 0 };
        (count > 0).then(|| total / count)
    }

    fn count(&self) -> u64 {
        self.word.load(Relaxed) & ((1 << Self::COUNT_BITS) - 1)
    }

    fn observe(&self, now: Timestamp) {
        let Some(mean) = self.mean(now) else { return };
        let old = u64::from(self.average.load(Relaxed));
        let new = if old == 0 { mean } else { Share::Twentieth.mix(old, mean) };
        // Two concurrent picks may overwrite each other's step; each is as good as the other.
        self.average.store(new.min(u64::from(u32::MAX)) as u32, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::millis(1_000 + millis)
    }

    fn serve(latency: &Latency, began: u64, took: u64) {
        let mut timing = latency.picked(at(began));
        latency.header(&mut timing, at(began + took));
        latency.finished(timing, at(began + took));
    }

    fn millis(latency: &Latency, measure: Measure) -> u64 {
        latency.expectation(measure, Duration::from_secs(10).into(), at(0)).millis
    }

    #[test]
    fn averages_move_as_nginx_rounds_them() {
        let latency = Latency::default();
        let seen: Vec<u64> = [100, 200, 200, 200, 0]
            .into_iter()
            .map(|took| {
                serve(&latency, 0, took);
                millis(&latency, Measure::LastByte)
            })
            .collect();
        assert_eq!(seen, [100, 105, 110, 115, 109]);
        assert_eq!(millis(&latency, Measure::Header), 109);
    }

    #[test]
    fn no_request_no_average() {
        assert_eq!(Latency::default().average(Measure::Header), None);
        assert_eq!(Latency::default().last_picked(), None);
    }

    #[test]
    fn an_answer_within_the_same_microsecond_is_an_average_too() {
        let latency = Latency::default();
        serve(&latency, 0, 0);
        assert_eq!(latency.average(Measure::LastByte), Some(Duration::from_micros(1)));
    }

    #[test]
    fn header_and_last_byte_are_averaged_apart() {
        let latency = Latency::default();
        let mut timing = latency.picked(at(0));
        latency.header(&mut timing, at(5));
        latency.header(&mut timing, at(50));
        latency.finished(timing, at(80));
        assert_eq!(latency.average(Measure::Header), Some(Duration::from_millis(5)));
        assert_eq!(latency.average(Measure::LastByte), Some(Duration::from_millis(80)));
    }

    #[test]
    fn a_client_that_leaves_counts_only_after_the_head() {
        let latency = Latency::default();
        let timing = latency.picked(at(0));
        latency.finished(timing, at(700));
        assert_eq!(latency.average(Measure::LastByte), None);

        let mut timing = latency.picked(at(0));
        latency.header(&mut timing, at(10));
        latency.finished(timing, at(30));
        assert_eq!(latency.average(Measure::LastByte), Some(Duration::from_millis(30)));
    }

    #[test]
    fn failing_fast_is_slow() {
        let latency = Latency::default();
        let timing = latency.picked(at(0));
        latency.failed(timing, at(1));
        assert_eq!(latency.average(Measure::Header), Some(FAILURE));

        let slow = Latency::default();
        serve(&slow, 0, 3_000);
        let timing = slow.picked(at(0));
        slow.failed(timing, at(1));
        assert_eq!(slow.average(Measure::LastByte), Some(Duration::from_millis(3_150)), "twice the usual 3 s");
    }

    #[test]
    fn averages_of_an_unused_peer_fade() {
        let latency = Latency::default();
        serve(&latency, 0, 800);
        let after =
            |secs: u64| latency.expectation(Measure::LastByte, Duration::from_secs(10).into(), at(secs * 1_000)).millis;
        assert_eq!([10, 11, 21, 22, 33].map(after), [800, 400, 400, 200, 100]);
    }

    #[test]
    fn after_a_doubt_one_request_counts_three_quarters() {
        let latency = Latency::default();
        serve(&latency, 0, 400);
        latency.doubt();
        serve(&latency, 0, 20);
        assert_eq!(millis(&latency, Measure::LastByte), 115);
        serve(&latency, 0, 20);
        assert_eq!(millis(&latency, Measure::LastByte), 110);
    }

    #[test]
    fn unfinished_requests_grow_old() {
        let latency = Latency::default();
        latency.count_unfinished(Measure::LastByte);
        let mean = |measure| latency.ages(measure).mean(at(100));
        let mut first = latency.picked(at(0));
        let second = latency.picked(at(60));
        assert_eq!(mean(Measure::Header), Some((100 + 40) / 2));
        latency.header(&mut first, at(100));
        assert_eq!(mean(Measure::Header), Some(40));
        assert_eq!(mean(Measure::LastByte), Some(70));
        latency.failed(second, at(100));
        latency.finished(first, at(100));
        assert_eq!(mean(Measure::Header), None);
        assert_eq!(mean(Measure::LastByte), None);
    }

    #[test]
    fn requests_that_began_before_anybody_counted_them_are_never_counted() {
        let latency = Latency::default();
        let mut before = latency.picked(at(0));
        latency.count_unfinished(Measure::LastByte);
        let after = latency.picked(at(0));
        latency.header(&mut before, at(10));
        latency.finished(before, at(10));
        assert_eq!(latency.waiting(), 1);
        latency.finished(after, at(10));
        assert_eq!(latency.waiting(), 0);
    }

    #[test]
    fn only_what_somebody_goes_by_is_counted() {
        for (count, due) in [(None, [0, 0]), (Some(Measure::Header), [1, 0]), (Some(Measure::LastByte), [1, 1])] {
            let latency = Latency::default();
            count.into_iter().for_each(|measure| latency.count_unfinished(measure));
            let timing = latency.picked(at(0));
            assert_eq!([latency.waiting.count(), latency.open.count()], due, "{count:?}");
            latency.finished(timing, at(10));
            assert_eq!([latency.waiting.count(), latency.open.count()], [0, 0], "{count:?}");
        }
    }

    #[test]
    fn the_age_of_unfinished_requests_is_itself_averaged() {
        let latency = Latency::default();
        latency.count_unfinished(Measure::LastByte);
        let mut timing = latency.picked(at(0));
        latency.observe_unfinished(Measure::Header, at(100));
        assert_eq!(latency.unfinished(Measure::Header), Some(100));
        latency.observe_unfinished(Measure::Header, at(200));
        assert_eq!(latency.unfinished(Measure::Header), Some(105));
        latency.header(&mut timing, at(300));
        assert_eq!(latency.unfinished(Measure::Header), None);
        latency.finished(timing, at(300));
    }

    #[test]
    fn ages_stay_right_when_the_sum_overflows_and_when_clocks_disagree() {
        let ages = Ages::default();
        let late = Timestamp::millis(1 << 39);
        for _ in 0..5 {
            ages.enter(late);
        }
        assert_eq!(ages.mean(late + Duration::from_millis(7)), Some(7));
        assert_eq!(ages.mean(late - Duration::from_millis(3)), Some(0), "begun in this thread's future");
    }
}
