//! How full is a client's bucket when one more request comes? (nginx: `ngx_http_limit_req_lookup`.)

use super::Rate;
use crate::clock::Timestamp;

/// One request, in thousandths.
pub(super) const ONE: u64 = 1_000;

/// A leaky bucket: each request pours 1 into it, and it leaks at the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// By how much the client was ahead of its rate at its last request, in thousandths of a request.
    excess: u64,
    /// When that was, in milliseconds.
    last: u64,
}

impl Bucket {
    /// The bucket of a client whose first request comes now.
    pub fn first(now: Timestamp) -> Bucket {
        Bucket { excess: 0, last: now.as_millis() }
    }

    /// By how much the client would be ahead if one more request of it went on now.
    pub fn excess(&self, rate: Rate, now: Timestamp) -> u64 {
        let millis = now.as_millis().saturating_sub(self.last);
        (self.excess + ONE).saturating_sub(rate.drained(millis))
    }

    /// A request went on, with that excess.
    pub fn pour(&mut self, excess: u64, now: Timestamp) {
        self.excess = excess;
        self.last = self.last.max(now.as_millis());
    }

    /// Whether it says no more than no bucket at all.
    pub fn is_empty(&self, rate: Rate, now: Timestamp) -> bool {
        self.excess(rate, now) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The excess after each of several requests that all go on, as `milliseconds:excess`.
    fn course(rate: Rate, times: &[u64]) -> String {
        let at = |millis: u64| Timestamp::millis(50_000 + millis);
        let mut bucket: Option<Bucket> = None;
        let mut said = Vec::new();
        for &time in times {
            let excess = bucket.map_or(0, |bucket| bucket.excess(rate, at(time)));
            bucket.get_or_insert(Bucket::first(at(time))).pour(excess, at(time));
            said.push(format!("{time}:{excess}"));
        }
        said.join(" ")
    }

    /// Worked out by hand from nginx's `excess = max(excess - rate * ms / 1000 + 1000, 0)`, rate in thousandths.
    #[test]
    fn the_excess_is_nginxs_to_the_thousandth() {
        let per_second = Rate::per_second;
        for (rate, times, expected) in [
            // At the rate nobody is ever ahead.
            (per_second(10), &[0, 100, 200, 300][..], "0:0 100:0 200:0 300:0"),
            // At once, each is one more.
            (per_second(10), &[0, 0, 0, 0], "0:0 0:1000 0:2000 0:3000"),
            // 10 ms are a tenth of a request.
            (per_second(10), &[0, 10, 20, 30], "0:0 10:900 20:1800 30:2700"),
            // A pause empties the bucket, and saves nothing up.
            (per_second(10), &[0, 0, 0, 10_000, 10_000], "0:0 0:1000 0:2000 10000:0 10000:1000"),
            (per_second(1), &[0, 999, 1_999], "0:0 999:1 1999:1"),
            (per_second(1), &[0, 400, 800, 1_600], "0:0 400:600 800:1200 1600:1400"),
            (Rate::per_minute(30), &[0, 0, 1_000, 2_000], "0:0 0:1000 1000:1500 2000:2000"),
            // Thousandths are whole: at 0.016 per second 62 ms are nothing and 63 ms are one.
            (Rate::per_minute(1), &[0, 62], "0:0 62:1000"),
            (Rate::per_minute(1), &[0, 63], "0:0 63:999"),
            (per_second(1_000_000_000), &[0, 0, 1], "0:0 0:1000 1:0"),
        ] {
            assert_eq!(course(rate, times), expected, "{rate:?}");
        }
    }

    #[test]
    fn a_clock_that_is_a_little_behind_drains_nothing() {
        let rate = Rate::per_second(10);
        let mut bucket = Bucket::first(Timestamp::millis(500));
        let excess = bucket.excess(rate, Timestamp::millis(300));
        bucket.pour(excess, Timestamp::millis(300));
        assert_eq!(bucket, Bucket { excess: 1_000, last: 500 });
    }

    #[test]
    fn nothing_overflows() {
        let bucket = Bucket { excess: 0, last: 0 };
        assert_eq!(bucket.excess(Rate::per_second(u64::MAX), Timestamp::NEVER), 0);
    }
}
