//! How is a peer used, and what does it say when the use ends?

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::PeerTransition;
use super::group::GroupState;
use super::offer::Ask;
use super::peer::Peer;
use super::tier::Seat;
use super::tried::Tried;
use crate::affinity::Tag;
use crate::balancer::{Measure, Timing};
use crate::clock::{Clock, Timestamp};
use crate::health::{LeaseFacts, Outcome, Signal};

/// The use of a peer by one attempt: a slot of its `max_conns`, one of its requests in flight, perhaps its trial. It
/// travels with the body and ends exactly once. Dropped without a word, the client left: that frees all of it and
/// blames nobody.
#[derive(Debug)]
#[must_use = "a lease that is dropped ends at once"]
pub struct Lease {
    peer: Arc<Peer>,
    tag: Option<Tag>,
    facts: LeaseFacts,
    /// `None` once it has ended.
    timing: Option<Timing>,
}

/// On what terms a peer is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terms {
    Ordinary,
    Trial,
    /// Nobody else was left. The stamp is what the next choice of a last resort goes by.
    LastResort {
        stamp: Timestamp,
    },
}

/// A client that waited longer than this for a head, or ten times as long as usual, gave up because of the peer.
const LONG_WAIT: Duration = Duration::from_secs(1);

impl Lease {
    /// A lease on a peer, or `None` if its room or its trial was taken meanwhile.
    pub(super) fn take(seat: &Seat, terms: Terms, ask: &Ask<'_>, now: Timestamp) -> Option<Lease> {
        let peer = &seat.peer;
        if !peer.take_slot(seat.server.max_conns) {
            return None;
        }
        if terms == Terms::Trial && !peer.cell.take_trial(now) {
            peer.free_slot();
            return None;
        }
        let (trial, last_resort, stamp) = match terms {
            Terms::Ordinary => (false, false, now),
            Terms::Trial => (true, false, now),
            Terms::LastResort { stamp } => (false, true, stamp),
        };
        peer.stamp(stamp);
        peer.tally.requests.fetch_add(1, Relaxed);
        if ask.tried.is_empty() {
            peer.group.budget.request(now);
        }
        let facts = LeaseFacts { began: now, trial, last_resort, soft_before: ask.tried.failed_softly() };
        Some(Lease { timing: Some(peer.latency.picked(now)), peer: peer.clone(), tag: seat.tag, facts })
    }

    /// Whose use it is.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The tag of the peer, if its group binds clients to it.
    pub fn tag(&self) -> Option<Tag> {
        self.tag
    }

    /// The peer's group.
    pub fn group(&self) -> &Arc<GroupState> {
        &self.peer.group
    }

    /// When the peer was picked.
    pub fn began(&self) -> Timestamp {
        self.facts.began
    }

    /// Whether it is the trial of a peer that failed before.
    pub fn is_trial(&self) -> bool {
        self.facts.trial
    }

    /// Whether the peer was picked because nobody else was left.
    pub fn is_last_resort(&self) -> bool {
        self.facts.last_resort
    }

    /// Whether the head of an answer has come.
    pub fn head_seen(&self) -> bool {
        self.timing.as_ref().is_some_and(Timing::head_seen)
    }

    /// The head of the answer came, and is one to pass on. The first time counts. A trial, or a last resort, has
    /// succeeded with it: a long body, or a tunnel, must not keep the peer from all others.
    pub fn head_received(&mut self, now: Timestamp) -> Option<PeerTransition> {
        let timing = self.timing.as_mut()?;
        self.peer.latency.header(timing, now);
        self.peer.head_came();
        if !self.facts.trial && !self.facts.last_resort {
            return None;
        }
        let lease = self.facts;
        self.facts = LeaseFacts { trial: false, last_resort: false, ..lease };
        self.peer.tell(Signal::Outcome { lease, outcome: Outcome::Success }, now)
    }

    /// The attempt is over, and with it the request or its part in it.
    pub fn finish(mut self, outcome: Outcome, now: Timestamp) -> Option<PeerTransition> {
        self.end(outcome, now)
    }

    /// The attempt failed, and another may follow: the request remembers that, and whom it tried.
    pub fn give_up(self, outcome: Outcome, tried: &mut Tried, now: Timestamp) -> Option<PeerTransition> {
        tried.insert(self.peer.id);
        if matches!(outcome, Outcome::Soft(_)) {
            tried.fail_softly();
        }
        self.finish(outcome, now)
    }

    /// Another peer was faster, and serves the request: that blames nobody. Where times are counted one by one, it took at
    /// least this long.
    pub fn outrun(mut self, now: Timestamp) -> Option<PeerTransition> {
        if let Some(timing) = &self.timing {
            self.peer.latency.outrun(timing, now);
        }
        self.end(Outcome::Neutral, now)
    }

    /// The client left. That is the peer's failure if there was no head after more than a second and ten times the
    /// usual wait, and nobody's otherwise.
    pub fn client_left(self, now: Timestamp) -> Option<PeerTransition> {
        let usual = self.peer.latency.average(Measure::Header).unwrap_or_default();
        let waited = now.since(self.began());
        let blame = !self.head_seen() && waited > LONG_WAIT.max(usual.saturating_mul(10));
        let gave_up = || Outcome::Soft(format!("the client gave up after {waited:.1?} without an answer").into());
        self.finish(if blame { gave_up() } else { Outcome::Neutral }, now)
    }

    fn end(&mut self, outcome: Outcome, now: Timestamp) -> Option<PeerTransition> {
        let timing = self.timing.take()?;
        let peer = &self.peer;
        let failed = matches!(outcome, Outcome::Hard(_) | Outcome::Soft(_));
        if failed {
            peer.latency.failed(timing, now);
            peer.tally.fails.fetch_add(1, Relaxed);
        } else {
            peer.latency.finished(timing, now);
        }
        let says_nothing = outcome == Outcome::Neutral && !self.facts.trial;
        let transition =
            if says_nothing { None } else { peer.tell(Signal::Outcome { lease: self.facts, outcome }, now) };
        // Last, so that whoever gets the slot sees what this use has taught.
        peer.free_slot();
        transition
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.timing.is_some() {
            // Says nothing of the peer, so there is no transition to lose.
            let _ = self.end(Outcome::Neutral, Clock::process().now());
        }
    }
}
