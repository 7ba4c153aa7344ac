//! Who stands out? The peers of one tier compared with each other, by what their requests came to in the same interval.
//!
//! `max_fails` looks at one peer alone and counts; this looks at shares, and at speed, which only others can judge. If
//! most peers are as bad, nobody stands out: it is then not the peer.

use std::fmt;
use std::time::Duration;

/// Who is compared at all: two peers tell which of them is slower, one tells nothing.
const LEAST_PEERS: usize = 2;

/// A peer that is slower by less than this is not slow, whatever the factor: times of a few milliseconds differ by
/// chance.
const LEAST_EXCESS: Duration = Duration::from_millis(20);

/// `outliers` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `failure_share`: percent of its requests that a peer may fail, short of that; 0: it does not matter.
    pub failure_share: u8,
    /// `latency_factor`: how many times the median of the peers a peer may take, short of that; 0: it does not matter.
    pub latency_factor: u32,
    /// `min_requests`: a peer with fewer says nothing.
    pub min_requests: u64,
}

/// What the requests of one peer came to in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that were sent to it.
    pub requests: u64,
    /// Those among them that failed, or were answered 5xx.
    pub failures: u64,
    /// Heads of answers whose times are known.
    pub answers: u64,
    /// What half of these took at most.
    pub median: Option<Duration>,
}

/// How a peer stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Too many of its requests fail.
    Fails {
        /// How many did.
        failures: u64,
        /// Of how many.
        requests: u64,
        /// The median of the peers' shares, in percent.
        usual: u64,
    },
    /// It takes too long.
    Slow {
        /// What half of its answers took at most.
        median: Duration,
        /// The median of that over the peers.
        usual: Duration,
    },
}

impl Sample {
    /// Whether there is enough of it to compare.
    pub fn suffices(&self, rule: &Rule) -> bool {
        self.requests >= rule.min_requests
    }

    fn failed_percent(&self) -> u64 {
        (self.failures.min(self.requests) * 100).checked_div(self.requests).unwrap_or(0)
    }
}

/// How each of these peers stands out; `None`: it does not, or nobody knows. The slower half, and the half that fails
/// more, may stand out at most; so there is always one left.
pub fn outliers(samples: &[Sample], rule: &Rule) -> Vec<Option<Finding>> {
    let shares = samples.iter().filter(|sample| sample.suffices(rule)).map(Sample::failed_percent);
    let usual_share = lower_median(shares.collect());
    let timed = |sample: &Sample| sample.median.filter(|_| sample.answers >= rule.min_requests);
    let usual_time = lower_median(samples.iter().filter_map(timed).collect());
    let fails = |sample: &Sample| {
        let (limit, usual) = (u64::from(rule.failure_share), usual_share?);
        let stands_out = limit > 0 && usual < limit && sample.suffices(rule) && sample.failed_percent() >= limit;
        let (failures, requests) = (sample.failures.min(sample.requests), sample.requests);
        stands_out.then_some(Finding::Fails { failures, requests, usual })
    };
    let slow = |sample: &Sample| {
        let (median, usual) = (timed(sample)?, usual_time?);
        let limit = usual.saturating_mul(rule.latency_factor).max(usual + LEAST_EXCESS);
        (rule.latency_factor > 0 && median >= limit).then_some(Finding::Slow { median, usual })
    };
    samples.iter().map(|sample| fails(sample).or_else(|| slow(sample))).collect()
}

/// The middle one; of an even number the lesser of the two, so that of two peers one can stand out.
fn lower_median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    let middle = values.len().checked_sub(1)? / 2;
    (values.len() >= LEAST_PEERS).then(|| values[middle])
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Fails { failures, requests, usual } => {
                write!(f, "{failures} of {requests} requests failed, where {usual}% is the median of its peers")
            }
            Finding::Slow { median, usual } => {
                write!(f, "answers took {median:.0?}, where {usual:.0?} is the median of its peers")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failure_share: 50, latency_factor: 3, min_requests: 20 };

    fn failing(requests: u64, failures: u64) -> Sample {
        Sample { requests, failures, answers: 0, median: None }
    }

    fn taking(millis: u64) -> Sample {
        Sample { requests: 100, failures: 0, answers: 100, median: Some(Duration::from_millis(millis)) }
    }

    /// Who stands out, as `.x.`.
    fn marks(samples: &[Sample], rule: &Rule) -> String {
        outliers(samples, rule).iter().map(|found| if found.is_some() { 'x' } else { '.' }).collect()
    }

    #[test]
    fn a_peer_that_fails_its_share_while_others_do_not_stands_out() {
        let table: [(&[(u64, u64)], &str); 8] = [
            (&[(100, 0), (100, 50), (100, 0)], ".x."),
            (&[(100, 0), (100, 49), (100, 0)], "..."),
            (&[(100, 0), (100, 60)], ".x"),
            (&[(100, 60), (100, 100), (100, 0)], "..."),
            (&[(100, 60), (100, 100), (100, 0), (100, 1)], "xx.."),
            (&[(19, 19), (100, 0), (100, 0)], "..."),
            (&[(20, 20), (19, 0), (19, 0)], "..."),
            (&[(100, 100)], "."),
        ];
        for (samples, expected) in table {
            let samples: Vec<Sample> =
                samples.iter().map(|(requests, failures)| failing(*requests, *failures)).collect();
            assert_eq!(marks(&samples, &RULE), expected, "{samples:?}");
        }
    }

    #[test]
    fn a_peer_that_takes_a_multiple_of_the_median_stands_out() {
        let table: [(&[u64], &str); 8] = [
            (&[100, 100, 300], "..x"),
            (&[100, 100, 299], "..."),
            (&[100, 300], ".x"),
            (&[1_000, 1_000, 10], "..."),
            (&[100, 1_000, 1_000, 110], ".xx."),
            (&[1, 1, 20], "..."),
            (&[1, 1, 21], "..x"),
            (&[5_000], "."),
        ];
        for (millis, expected) in table {
            let samples: Vec<Sample> = millis.iter().map(|millis| taking(*millis)).collect();
            assert_eq!(marks(&samples, &RULE), expected, "{millis:?}");
        }
    }

    #[test]
    fn few_answers_say_nothing_of_speed() {
        let few = Sample { answers: 19, ..taking(5_000) };
        assert_eq!(marks(&[taking(10), taking(10), few], &RULE), "...");
        let rated = [taking(10), Sample { answers: 19, ..taking(10) }, taking(900)];
        assert_eq!(marks(&rated, &RULE), "..x");
    }

    #[test]
    fn each_measure_can_be_turned_off() {
        let samples = [taking(10), failing(100, 100), taking(10), taking(900)];
        assert_eq!(marks(&samples, &RULE), ".x.x");
        assert_eq!(marks(&samples, &Rule { failure_share: 0, ..RULE }), "...x");
        assert_eq!(marks(&samples, &Rule { latency_factor: 0, ..RULE }), ".x..");
    }

    #[test]
    fn at_least_one_peer_always_stays() {
        for count in 1..8_u64 {
            let samples: Vec<Sample> =
                (0..count).map(|i| Sample { failures: i * 14, ..taking(1 << (2 * i)) }).collect();
            assert!(marks(&samples, &RULE).contains('.'), "{count}");
        }
    }

    #[test]
    fn a_finding_tells_its_evidence() {
        let found = |samples: &[Sample]| outliers(samples, &RULE)[0].map(|found| found.to_string());
        assert_eq!(
            found(&[failing(40, 30), failing(40, 1), failing(40, 0)]).as_deref(),
            Some("30 of 40 requests failed, where 2% is the median of its peers")
        );
        assert_eq!(
            found(&[taking(350), taking(20), taking(25)]).as_deref(),
            Some("answers took 350ms, where 25ms is the median of its peers")
        );
    }
}
