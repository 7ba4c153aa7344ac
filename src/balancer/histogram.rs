//! How are times spread? Counts of times by size: cheap to add to, and what lies between two looks is a difference.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Times below 64 µs are one bucket, each doubling from there on is eight, and what takes longer than 268 s is in the
/// last. So a quantile is at most an eighth too large.
const BUCKETS: usize = 1 + OCTAVES * PER_OCTAVE;
const OCTAVES: usize = 22;
const PER_OCTAVE: usize = 8;
const PER_OCTAVE_BITS: u32 = 3;
const FIRST_OCTAVE: u32 = 6;

/// Times, counted without a lock. The counts wrap around.
#[derive(Debug)]
pub(super) struct Histogram([AtomicU32; BUCKETS]);

/// The counts at one moment, or between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution(Box<[u32; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([const { AtomicU32::new(0) }; BUCKETS])
    }
}

impl Histogram {
    /// Counts one time.
    pub(super) fn add(&self, time: Duration) {
        self.0[bucket(time)].fetch_add(1, Relaxed);
    }

    /// All that was counted so far.
    pub(super) fn counts(&self) -> Distribution {
        Distribution(Box::new(std::array::from_fn(|i| self.0[i].load(Relaxed))))
    }
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution(Box::new([0; BUCKETS]))
    }
}

impl Distribution {
    /// What was counted after `before`, an earlier look at the same.
    #[must_use]
    pub fn since(&self, before: &Distribution) -> Distribution {
        Distribution(Box::new(std::array::from_fn(|i| self.0[i].wrapping_sub(before.0[i]))))
    }

    /// Takes in what another counted.
    pub fn merge(&mut self, other: &Distribution) {
        for (own, other) in self.0.iter_mut().zip(&*other.0) {
            *own = own.saturating_add(*other);
        }
    }

    /// Lets all that was counted weigh half.
    pub fn halve(&mut self) {
        self.0.iter_mut().for_each(|count| *count /= 2);
    }

    /// How many times were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The time that `percent` of them do not exceed, at most an eighth too large; `None`: there are none.
    pub fn quantile(&self, percent: u8) -> Option<Duration> {
        let total = self.total();
        let rank = (total * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        found.filter(|_| total > 0).map(upper_bound)
    }
}

fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let Some(octave) = micros.checked_ilog2().and_then(|log| log.checked_sub(FIRST_OCTAVE)) else { return 0 };
    // The three bits behind the highest.
    let part = (micros >> (octave + FIRST_OCTAVE - PER_OCTAVE_BITS)) as usize % PER_OCTAVE;
    (1 + octave as usize * PER_OCTAVE + part).min(BUCKETS - 1)
}

/// The first time that is too long for the bucket.
fn upper_bound(bucket: usize) -> Duration {
    let Some(bucket) = bucket.checked_sub(1) else { return Duration::from_micros(1 << FIRST_OCTAVE) };
    let octave = FIRST_OCTAVE + (bucket / PER_OCTAVE) as u32;
    let part = (PER_OCTAVE + bucket % PER_OCTAVE + 1) as u64;
    Duration::from_micros(part << (octave - PER_OCTAVE_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: &[u64]) -> Distribution {
        let histogram = Histogram::default();
        millis.iter().for_each(|time| histogram.add(Duration::from_millis(*time)));
        histogram.counts()
    }

    #[test]
    fn a_quantile_is_never_too_small_and_at_most_an_eighth_too_large() {
        for micros in [64, 65, 100, 999, 1_000, 20_000, 123_456, 1_000_000, 60_000_000, 260_000_000] {
            let histogram = Histogram::default();
            histogram.add(Duration::from_micros(micros));
            let found = histogram.counts().quantile(50).map_or(0, |time| time.as_micros() as u64);
            assert!(found > micros && found <= micros + micros / 8 + 1, "{micros}: {found}");
        }
    }

    #[test]
    fn quantiles_go_by_rank() {
        let times: Vec<u64> = (1..=100).collect();
        let of = of(&times);
        let within = |percent, low, high| {
            let found = of.quantile(percent).map_or(0, |time| time.as_millis());
            assert!((low..=high).contains(&found), "{percent}: {found}");
        };
        within(1, 1, 1);
        within(50, 50, 57);
        within(95, 95, 107);
        within(100, 100, 113);
        assert_eq!(Distribution::default().quantile(50), None);
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_bucket() {
        let histogram = Histogram::default();
        histogram.add(Duration::ZERO);
        histogram.add(Duration::MAX);
        let counts = histogram.counts();
        assert_eq!(counts.quantile(50), Some(Duration::from_micros(64)));
        assert_eq!(counts.quantile(100), Some(Duration::from_micros(1 << 28)));
    }

    #[test]
    fn the_difference_of_two_looks_is_what_lies_between_them() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_secs(1));
        let before = histogram.counts();
        histogram.add(Duration::from_millis(10));
        let between = histogram.counts().since(&before);
        assert_eq!((between.total(), between), (1, of(&[10])));
    }

    #[test]
    fn what_is_merged_counts_and_what_is_halved_counts_half() {
        let mut all = of(&[10, 10]);
        all.merge(&of(&[10, 500]));
        assert_eq!(all.total(), 4);
        all.halve();
        assert_eq!(all, of(&[10]));
    }
}
