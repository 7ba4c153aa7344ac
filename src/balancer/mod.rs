//! Which peer next? Pure choices: no IO, no clock, no log, no lock on the way of a pick.
//!
//! An algorithm sees the peers of *one tier* (primaries, or backups) by index, in the order of the configuration,
//! through [`Candidates`]. It never hears of health, backup, retries or configuration.

use std::time::Duration;

use crate::clock::Timestamp;
pub use crate::share::FULL;

mod alone;
mod best;
mod bits;
#[cfg(test)]
mod by_definition;
mod capacity;
mod cycle;
#[cfg(test)]
mod fairness;
mod hash;
mod histogram;
mod index;
mod ip_hash;
mod ketama;
mod latency;
mod least_conn;
mod least_time;
mod levels;
mod looks;
mod numbers;
mod order;
mod random;
mod round_robin;
mod sample;
mod scores;
mod shares;
mod shuffled;
mod smooth;
mod speed;
#[cfg(test)]
mod testing;
mod units;
mod walk;

pub use histogram::Distribution;
pub use ip_hash::{IpHashKey, ip_hash_key};
pub use latency::{Latency, Measure, Timing};

/// What an algorithm may ask about the peers of the tier on offer.
pub trait Candidates {
    /// How many peers the tier has, eligible or not.
    fn count(&self) -> usize;
    /// Whether peer `i` may be picked now: it accepts traffic, was not tried by this request, has room.
    fn eligible(&self, i: usize) -> bool;
    /// Requests that peer `i` is processing, over all workers.
    fn in_flight(&self, i: usize) -> u32;
    /// What is known of how fast peer `i` answers.
    fn latency(&self, i: usize) -> &Latency;
    /// How much of its weight peer `i` gets, in 1/1024: below [`FULL`] while it ramps up (`slow_start`).
    fn ramp(&self, i: usize) -> u32;
    /// When this pick happens.
    fn now(&self) -> Timestamp;
}

/// Chooses one peer of a tier. Shared by all workers; a pick never waits.
pub trait Balancer: Send + Sync {
    /// The index of an eligible peer, or `None` when no peer of the tier is eligible. `key` is the evaluated key of
    /// `hash`, the address bytes of `ip_hash` ([`ip_hash_key`]), and empty for the others.
    fn pick(&self, peers: &dyn Candidates, key: &[u8]) -> Option<usize>;

    /// Told after peers of the tier became available or unavailable (never on the success path). Here `eligible`
    /// says only who takes part: nobody was tried, room is ignored. To be called once after [`build`], too. It asks
    /// `eligible` anew for every peer, so of two concurrent calls the later one sees what both have to tell.
    fn availability_changed(&self, _peers: &dyn Candidates) {}

    /// Who had the last turn of a rotation; `None` for an algorithm without one. With [`resume_after`], a group that is
    /// built anew (a reload, DNS) goes on where it was.
    ///
    /// [`resume_after`]: Balancer::resume_after
    fn last_turn(&self) -> Option<usize> {
        None
    }

    /// Goes on with the rotation after peer `i`'s turn.
    fn resume_after(&self, _i: usize) {}

    /// Whether it wants to hear how its peers are used, by [`use_changed`](Balancer::use_changed).
    fn watches_use(&self) -> bool {
        false
    }

    /// Whether it wants to hear when the head of an answer came, too.
    fn watches_heads(&self) -> bool {
        false
    }

    /// Told after peer `i` was given a request, and after one ended there and its times are in the averages.
    /// `in_flight` reads the count anew each time: of two calls at once it does not matter which comes first.
    fn use_changed(&self, _i: usize, _latency: &Latency, _in_flight: &dyn Fn() -> u32) {}

    /// Whether the key decides. If so, a trial of an unavailable peer waits for a request whose key leads to it.
    fn keyed(&self) -> bool {
        false
    }
}

/// The algorithm of `balance = "…"`, without its key template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Smooth weighted round robin, the default.
    RoundRobin,
    /// Fewest requests in flight per weight.
    LeastConn,
    /// By the client's address: /24 for IPv4, all of IPv6.
    IpHash,
    /// By a key: `hash KEY [consistent]`.
    Hash {
        /// Ketama ring instead of modulo.
        consistent: bool,
    },
    /// Lowest expected time: `least_time header|last_byte [inflight]`.
    LeastTime {
        /// Which average.
        measure: Measure,
        /// Count unfinished requests as well.
        inflight: bool,
    },
    /// `random`, or `random two [least_conn | least_time=header|last_byte]`.
    Random {
        /// How the better of two is chosen; `None`: one draw.
        two: Option<Two>,
    },
}

impl Method {
    /// Whether a key alone decides who is picked.
    pub fn is_by_key(&self) -> bool {
        matches!(self, Method::IpHash | Method::Hash { .. })
    }

    /// Which requests that are not finished a pick asks for: of its members they must be counted
    /// ([`Latency::count_unfinished`]). Whether a peer has answered yet `least_time` asks in any case.
    pub fn goes_by_unfinished(&self) -> Option<Measure> {
        match self {
            Method::LeastTime { measure, inflight: true } => Some(*measure),
            Method::LeastTime { .. } => Some(Measure::Header),
            _ => None,
        }
    }
}

/// How `random two` chooses between its two draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Two {
    /// Fewer requests in flight per weight.
    LeastConn,
    /// Lower average time.
    LeastTime(Measure),
}

/// One peer, as an algorithm is built from it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// `weight`, at least 1.
    pub weight: u32,
    /// What stands for it on the consistent-hash ring: the literal as written, or `ip:port` for a peer found by name.
    pub ring_text: &'a str,
    /// `max_conns`: the most requests at a time; 0: no limit.
    pub max_conns: u32,
    /// `fail_timeout`: after this long without a request, `least_time` looks again.
    pub fail_timeout: Duration,
}

/// The algorithm of `method` over the peers of one tier. `seed` determines the draws of `random`; the others are
/// deterministic by nature. The [`Candidates`] that it is asked about must be these members, in this order.
pub fn build(method: &Method, members: &[Member<'_>], seed: u64) -> Box<dyn Balancer> {
    match method {
        Method::RoundRobin => Box::new(round_robin::RoundRobin::new(members)),
        Method::LeastConn => Box::new(least_conn::LeastConn::new(members)),
        Method::IpHash => Box::new(ip_hash::IpHash::new(members)),
        Method::Hash { consistent: false } => Box::new(hash::Hash::new(members)),
        Method::Hash { consistent: true } => Box::new(ketama::Ketama::new(members)),
        Method::LeastTime { measure, inflight } => {
            let build = |members: &[Member<'_>]| least_time::LeastTime::new(members, *measure, *inflight);
            if members.len() > COMPARE_ALL {
                Box::new(shuffled::Shuffled::new(members, build))
            } else {
                Box::new(build(members))
            }
        }
        Method::Random { two } => Box::new(random::Random::new(members, *two, seed)),
    }
}

/// Up to how many peers `least_time` compares all of them at each pick. Above, it takes the best of a sample.
const COMPARE_ALL: usize = 128;

/// How many candidates of a key, or draws, are turned down before round robin decides. (nginx: `tries > 20`.)
const MAX_REJECTIONS: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::Tier;
    use super::*;

    fn methods() -> impl Strategy<Value = Method> {
        let measure = || prop_oneof![Just(Measure::Header), Just(Measure::LastByte)];
        let two = prop_oneof![Just(Two::LeastConn), measure().prop_map(Two::LeastTime)];
        prop_oneof![
            Just(Method::RoundRobin),
            Just(Method::LeastConn),
            Just(Method::IpHash),
            any::<bool>().prop_map(|consistent| Method::Hash { consistent }),
            (measure(), any::<bool>()).prop_map(|(measure, inflight)| Method::LeastTime { measure, inflight }),
            prop::option::of(two).prop_map(|two| Method::Random { two }),
        ]
    }

    proptest! {
        #[test]
        fn a_pick_is_eligible_and_nobody_is_picked_only_if_nobody_is_eligible(
            method in methods(),
            peers in prop_oneof![
                prop::collection::vec((1u32..50, any::<bool>(), 0..=FULL, 0u32..5, any::<bool>()), 0..40),
                prop::collection::vec((1u32..4, any::<bool>(), 0..=FULL, 0u32..5, any::<bool>()), COMPARE_ALL + 1..COMPARE_ALL + 20),
            ],
            keys in prop::collection::vec("[a-z]{0,3}", 1..8),
        ) {
            let mut tier = Tier::weights(&peers.iter().map(|(weight, ..)| *weight).collect::<Vec<_>>());
            for (peer, (_, eligible, ramp, in_flight, _)) in tier.peers.iter_mut().zip(&peers) {
                (peer.eligible, peer.ramp, peer.in_flight) = (*eligible, *ramp, *in_flight);
            }
            let balancer = tier.build(method);
            balancer.availability_changed(&tier);
            // Some change their mind without anybody being told: tried, full, or just failed.
            for (peer, (.., fickle)) in tier.peers.iter_mut().zip(&peers) {
                peer.eligible ^= fickle;
            }
            let somebody = tier.peers.iter().any(|peer| peer.eligible);
            for key in &keys {
                match balancer.pick(&tier, key.as_bytes()) {
                    Some(picked) => prop_assert!(tier.peers[picked].eligible),
                    None => prop_assert!(!somebody),
                }
            }
        }

        #[test]
        fn equal_members_and_seeds_make_equal_picks(method in methods(), weights in prop::collection::vec(1u32..9, 1..6)) {
            let tier = Tier::weights(&weights);
            let (one, other) = (tier.build(method.clone()), tier.build(method));
            prop_assert_eq!(tier.picks(&*one, 20), tier.picks(&*other, 20));
        }
    }

    #[test]
    fn a_key_decides_for_the_hashes_only() {
        let keyed = |method| build(&method, &[], 0).keyed();
        assert!(
            keyed(Method::IpHash)
                && keyed(Method::Hash { consistent: true })
                && keyed(Method::Hash { consistent: false })
        );
        assert!(!keyed(Method::RoundRobin) && !keyed(Method::LeastConn) && !keyed(Method::Random { two: None }));
    }
}
