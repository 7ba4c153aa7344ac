//! Which peer next? Pure choices: no IO, no clock, no log, no lock on the way of a pick.
//!
//! An algorithm sees the peers of *one tier* (primaries, or backups) by index, in the order of the configuration,
//! through [`Candidates`]. It never hears of health, backup, retries or configuration.

use crate::clock::Timestamp;

mod latency;

pub use latency::{Latency, Measure};

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

/// The ramp of a peer that does not ramp.
pub const FULL: u32 = 1024;

/// Chooses one peer of a tier. Shared by all workers; a pick never waits.
pub trait Balancer: Send + Sync {
    /// The index of an eligible peer, or `None` when no peer of the tier is eligible. `key` is the evaluated key of
    /// `hash`, the address bytes of `ip_hash` ([`ip_hash_key`]), and empty for the others.
    fn pick(&self, peers: &dyn Candidates, key: &[u8]) -> Option<usize>;

    /// Told after peers of the tier became available or unavailable (never on the success path). Here `eligible`
    /// says only who takes part: nobody was tried, room is ignored.
    fn availability_changed(&self, _peers: &dyn Candidates) {}

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
}
