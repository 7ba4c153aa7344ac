//! May this request go on: at once, later, or not at all? `limit_req`. (nginx: `ngx_http_limit_req_module`.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bucket::{Bucket, ONE};
use super::key::{KeyId, Namer};
use super::lru::Lru;
use super::{Notices, Rate};
use crate::clock::Timestamp;

/// How many locks the buckets of a zone have.
const PARTS: usize = 16;

/// The buckets of all clients of a zone, for all workers together, in bounded memory.
#[derive(Debug, Default)]
pub struct Buckets {
    namer: Namer,
    parts: [Mutex<Lru<Bucket>>; PARTS],
    /// What is told of refusals.
    pub refused: Notices,
    /// What is told of delays.
    pub delayed: Notices,
}

/// One `limit_req` of a location.
#[derive(Clone, Debug)]
pub struct RequestLimit {
    /// The zone's buckets.
    pub buckets: Arc<Buckets>,
    /// The zone's rate.
    pub rate: Rate,
    /// The zone's size, in clients.
    pub clients: usize,
    /// `burst`: how many requests may be ahead of the rate.
    pub burst: u64,
    /// `delay`: how many of them go on at once; `None`: all (`nodelay`).
    pub delay: Option<u64>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It goes on.
    Pass,
    /// It goes on after this time.
    Delay {
        /// Which limit says so.
        by: usize,
        /// By how much the client is ahead, in thousandths of a request.
        excess: u64,
        /// For how long.
        wait: Duration,
    },
    /// It does not.
    Refuse {
        /// Which limit says so.
        by: usize,
        /// By how much the client would be ahead, in thousandths of a request.
        excess: u64,
        /// After which time it would go on, if nothing else comes.
        retry_after: Duration,
    },
}

impl Buckets {
    /// Bytes that one client takes, at most. (nginx's states take the same on 64 bits.)
    pub const BYTES_PER_CLIENT: u64 = 128;
    /// The smallest size of a zone, in bytes. (nginx: eight pages.)
    pub const MIN_SIZE: u64 = 32 << 10;

    /// The id of a key. An empty key is not limited: it has none.
    pub fn id(&self, key: &[u8]) -> Option<KeyId> {
        (!key.is_empty()).then(|| self.namer.name(key))
    }

    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn lock(part: &Mutex<Lru<Bucket>>) -> MutexGuard<'_, Lru<Bucket>> {
    // Nothing in here can fail half-way.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RequestLimit {
    /// All of several limits must let a request pass, and one that is refused by any counts for none. `ids` are the
    /// client's in each zone; `None`: that limit is not for it.
    pub fn admit(limits: &[RequestLimit], ids: &[Option<KeyId>], now: Timestamp) -> Admission {
        let mine = || limits.iter().zip(ids).enumerate().filter_map(|(by, (limit, id))| Some((by, limit, (*id)?)));
        let Some((last, ..)) = mine().next_back() else { return Admission::Pass };
        let mut excess_of_last = 0;
        for (by, limit, id) in mine() {
            // The last one is looked at and charged in one step: with one limit, nobody slips between.
            match limit.look(id, by == last, now) {
                Ok(excess) => excess_of_last = excess,
                Err(excess) => return Admission::Refuse { by, excess, retry_after: limit.until_allowed(excess) },
            }
        }
        let mut worst = Admission::Pass;
        let mut longest = Duration::ZERO;
        for (by, limit, id) in mine() {
            let excess = if by == last { excess_of_last } else { limit.charge(id, now) };
            let wait = limit.wait(excess);
            if wait > longest {
                longest = wait;
                worst = Admission::Delay { by, excess, wait };
            }
        }
        worst
    }

    /// By how much the client would be ahead; `Err`: too much. With `charge`, one that is not goes on.
    fn look(&self, id: KeyId, charge: bool, now: Timestamp) -> Result<u64, u64> {
        let mut part = self.part(id);
        let Some(bucket) = part.touch(id) else {
            if charge {
                self.add(&mut part, id, now);
            }
            return Ok(0);
        };
        let excess = bucket.excess(self.rate, now);
        if excess > self.burst.saturating_mul(ONE) {
            return Err(excess);
        }
        if charge {
            bucket.pour(excess, now);
        }
        Ok(excess)
    }

    /// The request goes on.
    fn charge(&self, id: KeyId, now: Timestamp) -> u64 {
        let mut part = self.part(id);
        let Some(bucket) = part.touch(id) else {
            self.add(&mut part, id, now);
            return 0;
        };
        let excess = bucket.excess(self.rate, now);
        bucket.pour(excess, now);
        excess
    }

    /// A client that is new, or was forgotten. One or two that were not seen for long and have nothing against them go.
    fn add(&self, part: &mut Lru<Bucket>, id: KeyId, now: Timestamp) {
        for _ in 0..2 {
            if part.oldest().is_some_and(|bucket| bucket.is_empty(self.rate, now)) {
                part.drop_oldest();
            }
        }
        part.insert(id, Bucket::first(now), (self.clients / PARTS).max(1));
    }

    fn part(&self, id: KeyId) -> MutexGuard<'_, Lru<Bucket>> {
        lock(&self.buckets.parts[id.part(PARTS)])
    }

    fn wait(&self, excess: u64) -> Duration {
        let over = self.delay.map_or(0, |delay| excess.saturating_sub(delay.saturating_mul(ONE)));
        Duration::from_millis(self.rate.millis(over))
    }

    fn until_allowed(&self, excess: u64) -> Duration {
        let over = excess.saturating_sub(self.burst.saturating_mul(ONE));
        Duration::from_millis(self.rate.millis(over).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(rate: Rate, burst: u64, delay: Option<u64>) -> RequestLimit {
        RequestLimit { buckets: Arc::default(), rate, clients: 1_600, burst, delay }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::millis(70_000 + millis)
    }

    fn ask(limits: &[RequestLimit], keys: &[&str], now: Timestamp) -> Admission {
        let ids: Vec<Option<KeyId>> =
            limits.iter().zip(keys).map(|(limit, key)| limit.buckets.id(key.as_bytes())).collect();
        RequestLimit::admit(limits, &ids, now)
    }

    /// What becomes of requests at these milliseconds: `ok`, `+MS` (delayed), `no:MS` (refused, to come again after).
    fn course(limit: RequestLimit, times: &[u64]) -> String {
        let said = times.iter().map(|time| match ask(std::slice::from_ref(&limit), &["me"], at(*time)) {
            Admission::Pass => "ok".to_owned(),
            Admission::Delay { wait, .. } => format!("+{}", wait.as_millis()),
            Admission::Refuse { retry_after, .. } => format!("no:{}", retry_after.as_millis()),
        });
        said.collect::<Vec<_>>().join(" ")
    }

    /// nginx: a request is refused if `excess > burst`, and delayed by `(excess - delay) * 1000 / rate`.
    #[test]
    fn requests_pass_wait_or_are_refused_as_in_nginx() {
        let ten = Rate::per_second(10);
        for (rate, burst, delay, times, expected) in [
            (ten, 0, Some(0), &[0, 0, 99, 100, 150, 200][..], "ok no:101 no:2 ok no:51 ok"),
            (ten, 2, Some(0), &[0, 0, 0, 0, 100, 100], "ok +100 +200 no:101 +200 no:101"),
            (ten, 2, None, &[0, 0, 0, 0, 100, 100, 400], "ok ok ok no:101 ok no:101 ok"),
            (ten, 4, Some(2), &[0, 0, 0, 0, 0, 0], "ok ok ok +100 +200 no:101"),
            (ten, 2, Some(7), &[0, 0, 0, 0], "ok ok ok no:101"),
            (Rate::per_minute(30), 1, Some(0), &[0, 0, 0, 1_000, 2_000], "ok +2000 no:2001 no:1001 +2000"),
            (Rate::per_second(3), 1, Some(0), &[0, 0, 0], "ok +333 no:334"),
        ] {
            assert_eq!(course(limit(rate, burst, delay), times), expected, "{rate:?} burst {burst} delay {delay:?}");
        }
    }

    #[test]
    fn one_that_is_refused_counts_for_nothing() {
        assert_eq!(
            course(limit(Rate::per_second(1), 0, None), &[0, 500, 900, 999, 1_000, 1_001]),
            "ok no:501 no:101 no:2 ok no:1000"
        );
    }

    #[test]
    fn clients_do_not_know_each_other_and_an_empty_key_is_not_limited() {
        let limits = [limit(Rate::per_second(1), 0, None)];
        for (key, expected) in [("a", true), ("b", true), ("a", false), ("", true), ("", true)] {
            assert_eq!(ask(&limits, &[key], at(0)) == Admission::Pass, expected, "{key:?}");
        }
        assert_eq!(limits[0].buckets.len(), 2);
    }

    #[test]
    fn all_limits_must_let_it_pass_and_the_longest_wait_counts() {
        let limits = [limit(Rate::per_second(10), 5, Some(0)), limit(Rate::per_second(100), 3, Some(0))];
        let all = |keys: [&str; 2]| ask(&limits, &keys, at(0));
        let delay = |by, excess, millis| Admission::Delay { by, excess, wait: Duration::from_millis(millis) };
        assert_eq!(all(["me", "all"]), Admission::Pass);
        assert_eq!(all(["me", "all"]), delay(0, 1_000, 100));
        assert_eq!(all(["you", "all"]), delay(1, 2_000, 20));
        assert_eq!(all(["me", "all"]), delay(0, 2_000, 200));
        let refused = Admission::Refuse { by: 1, excess: 4_000, retry_after: Duration::from_millis(11) };
        assert_eq!(all(["me", "all"]), refused);
        assert_eq!(all(["me", ""]), delay(0, 3_000, 300), "what the second refused was not charged to the first");
        assert_eq!(all(["", ""]), Admission::Pass);
    }

    #[test]
    fn one_of_several_refuses_before_any_is_charged() {
        let limits = [limit(Rate::per_second(1), 0, None), limit(Rate::per_second(1), 9, None)];
        ask(&limits, &["me", "all"], at(0));
        assert!(matches!(ask(&limits, &["me", "all"], at(0)), Admission::Refuse { by: 0, .. }));
        assert_eq!(limits[1].look(limits[1].buckets.id(b"all").unwrap(), false, at(0)), Ok(1_000));
    }

    #[test]
    fn a_flood_of_clients_takes_no_more_memory_than_the_zone_has() {
        let size = Buckets::MIN_SIZE;
        let clients = (size / Buckets::BYTES_PER_CLIENT) as usize;
        let limits = [RequestLimit { clients, ..limit(Rate::per_second(1), 0, None) }];
        // Half-way between two steps of growth, a map is emptiest.
        assert!(Lru::<Bucket>::WEIGHT as u64 <= Buckets::BYTES_PER_CLIENT, "{}", Lru::<Bucket>::WEIGHT);
        for n in 0..10_000 {
            assert_eq!(ask(&limits, &[&format!("client {n}")], at(0)), Admission::Pass);
            assert!(limits[0].buckets.len() <= clients);
        }
        assert!(limits[0].buckets.len() > clients * 9 / 10);
    }

    #[test]
    fn clients_that_are_behind_their_rate_are_forgotten_first() {
        let limits = [limit(Rate::per_second(1), 0, None)];
        for n in 0..1_000 {
            ask(&limits, &[&n.to_string()], at(0));
        }
        for n in 0..1_000 {
            ask(&limits, &[&format!("new {n}")], at(60_000));
        }
        assert!(limits[0].buckets.len() <= 1_000 + PARTS, "{}", limits[0].buckets.len());
    }

    proptest! {
        /// In any stretch of time of any course no more than rate × time + burst + 1 go on.
        #[test]
        fn nobody_gets_more_than_rate_and_burst(
            rate in 1u64..50, burst in 0u64..10, nodelay: bool,
            pauses in prop::collection::vec(0u64..300, 1..200),
        ) {
            let limits = [limit(Rate::per_second(rate), burst, (!nodelay).then_some(0))];
            let (mut now, mut passed) = (0, Vec::new());
            for pause in pauses {
                now += pause;
                if !matches!(ask(&limits, &["me"], at(now)), Admission::Refuse { .. }) {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, until) in passed.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    prop_assert!(count * 1_000 <= (until - from) * rate + (burst + 1) * 1_000);
                }
            }
        }
    }

    #[test]
    fn threads_share_one_bucket() {
        let limits = [limit(Rate::per_second(1), 99, None)];
        let passed: usize = std::thread::scope(|scope| {
            let asking = || (0..100).filter(|_| ask(&limits, &["me"], at(0)) == Admission::Pass).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(asking)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 100);
    }
}
