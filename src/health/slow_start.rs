//! How much of its weight may a peer that came back have already?
//!
//! Linear from nothing to all in `slow_start`, but for the times in which it is held back. A function of time, so it needs
//! no timer; nginx gives no formula.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::share::FULL;

/// How long a failure stops a ramp's clock.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Slowness may hold a ramp back for this many times its length, in all: slower machines get their share, too.
const PATIENCE: u32 = 3;

/// Whether a peer has to ramp up, and how far it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlowStart {
    /// It was out, and ramps up when it is up again.
    cold: bool,
    ramp: Option<Ramp>,
    /// For how long slowness has held the ramp back.
    held: Duration,
}

/// A ramp under way. Its start is moved by every standstill, so that progress is plain subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    pub(super) start: Timestamp,
    pub(super) still_until: Timestamp,
}

impl SlowStart {
    /// `cold`: it must ramp when it first comes up.
    pub(super) fn new(cold: bool) -> SlowStart {
        SlowStart { cold, ..SlowStart::default() }
    }

    /// The peer is out, for unavail, unhealthy or down.
    pub(super) fn chill(&mut self) {
        *self = SlowStart::new(true);
    }

    /// The peer drains: that needs no ramp afterwards, but an unfinished one begins anew.
    pub(super) fn pause(&mut self) {
        *self = SlowStart::new(self.cold || self.ramp.is_some());
    }

    /// The peer is up; `exempt`: there is nothing to protect it from.
    pub(super) fn rise(&mut self, exempt: bool, now: Timestamp) {
        let ramps = self.cold && !exempt;
        let ramp = ramps.then_some(Ramp { start: now, still_until: now });
        *self = SlowStart { ramp, ..SlowStart::default() };
    }

    /// A failure while up: the ramp's clock stands still for a second.
    pub(super) fn stumble(&mut self, now: Timestamp) {
        if let Some(ramp) = &mut self.ramp {
            let until = now + STANDSTILL;
            ramp.start = ramp.start + until.since(now.max(ramp.still_until));
            ramp.still_until = until;
        }
    }

    /// Its answers take longer than those of its peers: the ramp's clock stands still for a second, as after a failure, up
    /// to a bound in all.
    pub(super) fn hold(&mut self, length: Duration, now: Timestamp) {
        if let Some(ramp) = self.ramp(length, now).filter(|_| self.held < length.saturating_mul(PATIENCE)) {
            self.stumble(now);
            self.held += self.ramp.map_or(Duration::ZERO, |later| later.start.since(ramp.start));
        }
    }

    /// The ramp under way, unless it is over.
    pub(super) fn ramp(&mut self, length: Duration, now: Timestamp) -> Option<Ramp> {
        self.ramp = self.ramp.filter(|ramp| ramp.share(length, now) < FULL);
        self.ramp
    }
}

impl Ramp {
    /// The share at `now`, in 1/1024 and never nothing.
    pub(super) fn share(self, length: Duration, now: Timestamp) -> u32 {
        let done = now.max(self.still_until).since(self.start);
        if done >= length {
            return FULL;
        }
        let share = done.as_micros() * u128::from(FULL) / length.as_micros();
        u32::try_from(share).map_or(FULL, |share| share.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    /// The shares at these milliseconds, for a ramp that begins at 0 and sees failures at `failures`.
    fn shares(failures: &[u64], at: &[u64]) -> Vec<u32> {
        let at_ms = |now: &u64| {
            let mut start = SlowStart::new(true);
            start.rise(false, Timestamp::ZERO);
            failures.iter().filter(|f| *f <= now).for_each(|f| start.stumble(Timestamp::millis(*f)));
            let now = Timestamp::millis(*now);
            start.ramp(TEN_SECONDS, now).map_or(FULL, |ramp| ramp.share(TEN_SECONDS, now))
        };
        at.iter().map(at_ms).collect()
    }

    #[test]
    fn a_ramp_is_linear_and_begins_with_the_least_share() {
        assert_eq!(shares(&[], &[0, 1_000, 5_000, 9_999, 10_000, 99_000]), [1, 102, 512, 1023, 1024, 1024]);
    }

    #[test]
    fn a_failure_stops_the_clock_of_a_ramp_for_a_second() {
        assert_eq!(shares(&[5_000], &[5_000, 5_500, 6_000, 7_000, 11_000]), [512, 512, 512, 614, 1024]);
    }

    #[test]
    fn a_failure_during_a_standstill_lengthens_it_to_a_second_from_there() {
        assert_eq!(shares(&[5_000, 5_500], &[5_500, 6_500, 7_500, 11_500]), [512, 512, 614, 1024]);
    }

    #[test]
    fn slowness_stops_the_clock_for_a_second_and_three_times_the_length_in_all() {
        let mut start = SlowStart::new(true);
        start.rise(false, Timestamp::ZERO);
        let mut shares = Vec::new();
        for second in 0..=60 {
            let now = Timestamp::secs(second);
            start.hold(TEN_SECONDS, now);
            shares.push(start.ramp(TEN_SECONDS, now).map_or(FULL, |ramp| ramp.share(TEN_SECONDS, now)));
        }
        assert_eq!([shares[0], shares[29], shares[30], shares[35], shares[40], shares[60]], [1, 1, 1, 512, FULL, FULL]);
        // What is over is not begun again.
        start.hold(TEN_SECONDS, Timestamp::secs(61));
        assert_eq!(start.ramp(TEN_SECONDS, Timestamp::secs(61)), None);
    }

    #[test]
    fn draining_restarts_an_unfinished_ramp_only() {
        let mut warm = SlowStart::new(false);
        warm.pause();
        warm.rise(false, Timestamp::secs(1));
        assert_eq!(warm.ramp(TEN_SECONDS, Timestamp::secs(1)), None);
        let mut ramping = SlowStart::new(true);
        ramping.rise(false, Timestamp::secs(1));
        ramping.pause();
        ramping.rise(false, Timestamp::secs(6));
        let ramp = ramping.ramp(TEN_SECONDS, Timestamp::secs(6)).map(|ramp| ramp.start);
        assert_eq!(ramp, Some(Timestamp::secs(6)));
    }
}
