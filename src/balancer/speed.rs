//! What is expected of a peer? Its average time, as nginx compares it and finer.

use std::time::Duration;

/// A `fail_timeout`, converted once and not for every peer that a pick looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailTimeout {
    pub micros: u64,
    /// Whole ones.
    pub seconds: u64,
}

impl From<Duration> for FailTimeout {
    fn from(time: Duration) -> FailTimeout {
        FailTimeout { micros: u64::try_from(time.as_micros()).unwrap_or(u64::MAX), seconds: time.as_secs() }
    }
}

/// A peer's time by its averages; zeros without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expectation {
    /// As nginx computes it, in whole milliseconds.
    pub millis: u64,
    /// The same average without nginx's rounding.
    pub micros: u64,
}

/// nginx's steps of 20 ms: 0…19 is 20, 20…39 is 40; from 5 s on all are the same.
pub(super) fn bucket(millis: u64) -> u64 {
    if millis > 5000 { 5000 } else { millis + 20 - millis % 20 }
}

/// What is expected of a peer, in a word that is lower the sooner it will answer: the average in µs (32 bits), the same in
/// steps of 20 ms as nginx computes it (8 bits at 8), and the steps that its unfinished requests have been waiting (8 bits;
/// 0: there are none, or they do not count).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Speed(u64);

/// In µs: what is this much slower than the fastest, or a quarter, is as fast.
const NEARLY: u64 = 5_000;

/// nginx's steps, in ms.
const STEP: u64 = 20;

impl Speed {
    /// Of who gets no requests.
    pub(super) const NONE: Speed = Speed(u64::MAX);

    /// `unfinished`: for how many ms its requests have been waiting.
    pub(super) fn new(expected: Expectation, unfinished: Option<u64>) -> Speed {
        let steps = bucket(expected.millis) / STEP;
        Speed(expected.micros.min(MOST) << 32 | steps << 8).with_unfinished(unfinished)
    }

    /// The same, but for the unfinished requests.
    pub(super) fn with_unfinished(self, millis: Option<u64>) -> Speed {
        Speed(self.0 & !0xff | millis.map_or(0, |millis| bucket(millis) / STEP))
    }

    /// As [`word`](Speed::word) gave it.
    pub(super) fn of_word(word: u64) -> Speed {
        Speed(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// In µs.
    pub(super) fn micros(self) -> u64 {
        self.0 >> 32
    }

    /// In nginx's steps.
    pub(super) fn steps(self) -> u64 {
        self.0 >> 8 & 0xff
    }

    /// In nginx's steps: for how long its unfinished requests have been waiting; 0: there are none.
    pub(super) fn unfinished(self) -> u64 {
        self.0 & 0xff
    }

    /// What is not below this is not nearly as fast.
    pub(super) fn level_below(self) -> Speed {
        let limit = self.micros() + (self.micros() / 4).max(NEARLY);
        Speed((limit.min(MOST) + 1) << 32)
    }
}

/// In µs; [`Speed::NONE`] is above.
const MOST: u64 = u32::MAX as u64 - 1;

impl Default for Speed {
    fn default() -> Speed {
        Speed::new(Expectation::default(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_steps_of_20_ms_up_to_5_s() {
        let table = [(0, 20), (19, 20), (20, 40), (25, 40), (39, 40), (4999, 5000), (5000, 5020), (5001, 5000)];
        for (time, step) in table {
            assert_eq!(bucket(time), step, "{time} ms");
        }
    }

    #[test]
    fn up_to_5_ms_or_a_quarter_slower_is_nearly_as_fast() {
        let speed = |micros| Speed::new(Expectation { millis: micros / 1_000, micros }, None);
        // fastest, the slowest that is nearly as fast
        for (fastest, slowest) in [(0, 5_000), (8_000, 13_000), (20_000, 25_000), (40_000, 50_000)] {
            assert!(speed(slowest) < speed(fastest).level_below(), "{slowest} µs");
            assert!(speed(slowest + 1) >= speed(fastest).level_below(), "{slowest} µs and one");
        }
        assert!(speed(u64::MAX) < speed(u64::MAX).level_below());
        assert!(Speed::NONE >= speed(u64::MAX).level_below());
    }
}
