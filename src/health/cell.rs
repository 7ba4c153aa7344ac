//! How do many workers share one peer's health? The machine behind a lock, and the one atomic word that a pick reads.

use std::sync::Arc;

use super::{Admission, Operator, Origin, Pace, Policy, Pool, Signal, Tier, Transition, Verdict};
use crate::clock::Timestamp;

/// The health of one peer, shared by all workers.
#[derive(Debug)]
pub struct Cell {}

impl Cell {
    /// The health of a peer that joins `tier` of `pool`. `operator` is what the file says. Without a check it is up,
    /// else checking. The pool forgets it when the cell is dropped.
    pub fn new(
        _policy: Policy,
        _operator: Operator,
        _origin: Origin,
        _pool: &Arc<Pool>,
        _tier: Tier,
        _now: Timestamp,
    ) -> Cell {
        todo!()
    }

    /// Moves the peer to another pool or tier, as a reload may. Its verdict stays.
    pub fn assign(&self, _pool: &Arc<Pool>, _tier: Tier) {
        todo!()
    }

    /// What a request may do with the peer now. One atomic load and a comparison.
    pub fn admission(&self, _now: Timestamp) -> Admission {
        todo!()
    }

    /// Takes the trial of an unavailable peer whose time has passed. `true`: the caller alone has it, until it reports
    /// an outcome with [`super::LeaseFacts::trial`] set. One compare-and-swap.
    pub fn take_trial(&self, _now: Timestamp) -> bool {
        todo!()
    }

    /// Takes note of something. The success of an ordinary lease, while the peer serves, takes no lock. All else takes
    /// the cell's own, and that of its pool for a moment.
    pub fn observe(&self, _signal: Signal, _now: Timestamp) -> Option<Transition> {
        todo!()
    }

    /// How much of its weight the peer gets now, in 1/1024 ([`crate::balancer::FULL`]): less while it ramps up. Takes
    /// no lock.
    pub fn ramp(&self, _now: Timestamp) -> u32 {
        todo!()
    }

    /// All there is to say of the peer, for views.
    pub fn verdict(&self, _now: Timestamp) -> Verdict {
        todo!()
    }

    /// When requests may next get at the peer without a probe's doing: the trial, for `Retry-After`. Not later than
    /// `now` if a trial is due or under way; `None`: that is for probes or the operator to say.
    pub fn next_change(&self, _now: Timestamp) -> Option<Timestamp> {
        todo!()
    }

    /// When [`Signal::Tick`] is next due: an override expires, or a "kept" ends. `None`: nothing waits for time.
    pub fn wake_at(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Judges by another policy from now on: [`Signal::PolicyChanged`].
    pub fn update_policy(&self, policy: Policy, check_changed: bool, now: Timestamp) -> Option<Transition> {
        self.observe(Signal::PolicyChanged { policy, check_changed }, now)
    }

    /// How often to probe the peer now.
    pub fn probe_pace(&self, _now: Timestamp) -> Pace {
        todo!()
    }
}
