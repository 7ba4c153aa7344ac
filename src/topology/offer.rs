//! Who shall serve this request now, and if nobody: wait, or why not?
//!
//! 1. primaries: the one that the request is bound to (draining or not), else those that are up (or kept, or due for a trial)
//! 2. backups likewise
//! 3. while some peer has had no probe verdict at all: wait for it, at most the probe's time-out
//! 4. last resort, primaries then backups: the one whose last attempt is oldest
//! 5. nobody: 503 with `Retry-After`
//!
//! A peer that is up but full is not "nobody": the request queues up for it, or is refused; last resort is for
//! groups without a peer that is up.

use std::fmt;

use super::group::Group;
use super::lease::{Lease, Terms};
use super::tier::{Seat, Tier};
use super::tried::Tried;
use crate::affinity::Tag;
use crate::clock::Timestamp;
use crate::health::Admission;

/// What a request says of itself when it asks for a peer.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The evaluated key of `hash`, the address bytes of `ip_hash`; empty for the others.
    pub key: &'a [u8],
    /// Whether the request may be sent again elsewhere: then it may serve as the trial of a peer that failed.
    pub repeatable: bool,
    /// Whom it has tried already.
    pub tried: &'a Tried,
    /// Whom it is bound to, whatever the algorithm says; `None`: nobody.
    pub bound: Option<Tag>,
}

/// There is no lease at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Waiting may help: [`acquire`](super::acquire()).
    Wait(WaitFor),
    /// It does not.
    Nobody(Nobody),
}

/// What a request may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// A free slot, in the queue.
    Room,
    /// The first verdict on a peer.
    Verdict,
}

/// There is no peer for this request: 503 with `Retry-After`. If it has made attempts, the client gets the outcome of
/// the last one instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nobody {
    /// Why.
    pub why: Why,
    /// `Retry-After`: seconds to the earliest next probe or trial, rounded up, 1 to 60.
    pub retry_after: u64,
}

/// Why there is no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The group has none: nothing was resolved, or a reload has removed the group.
    NoPeers,
    /// None may be asked: down, draining, unhealthy, checking.
    Unavailable,
    /// All that may be asked have been.
    AllTried,
    /// All are at `max_conns`, and there is no queue.
    Full,
    /// All are at `max_conns`, and so is the queue.
    QueueFull,
    /// All were at `max_conns` for the whole time-out of the queue.
    QueueTimeout,
}

/// How often a choice starts again because somebody became free between two looks.
const LOOKS: usize = 4;

impl Group {
    /// A lease at once, or why there is none. Takes no lock when there is one. If there is none, go on with
    /// [`acquire`](super::acquire()): it waits if that may help, and looks at the newest snapshot before it gives up.
    pub fn try_lease(&self, ask: &Ask<'_>, now: Timestamp) -> Result<Lease, Refused> {
        self.offer(ask, Patience::default(), now)
    }

    pub(super) fn offer(&self, ask: &Ask<'_>, patience: Patience, now: Timestamp) -> Result<Lease, Refused> {
        if self.config.queue.is_some() && !patience.has_turn && self.state.queue.must_wait() {
            return Err(Refused::Wait(WaitFor::Room));
        }
        for _ in 0..LOOKS {
            if let Some(lease) = self.tiers.iter().find_map(|tier| self.lease_of(tier, ask, now)) {
                return Ok(lease);
            }
            let seen = Survey::of(self, ask, now);
            if seen.up_and_free {
                continue;
            }
            if seen.up_and_full {
                break;
            }
            if seen.unprobed && !patience.waited_for_verdict && self.config.health_check.is_some() {
                return Err(Refused::Wait(WaitFor::Verdict));
            }
            return match self.last_resort(ask, &seen, now) {
                Resort::Lease(lease) => Ok(lease),
                Resort::Full => Err(self.full()),
                Resort::Nobody => Err(Refused::Nobody(self.nobody(ask, now))),
            };
        }
        Err(self.full())
    }

    /// Of one tier: whom the request is bound to, else whom the algorithm picks. (So one that is bound to a backup stays
    /// there only as long as backups are asked. nginx, spec §4.8.)
    fn lease_of(&self, tier: &Tier, ask: &Ask<'_>, now: Timestamp) -> Option<Lease> {
        if let Some(lease) = tier.bound_lease(ask, now) {
            return Some(lease);
        }
        let trials = self.trial_is_due(tier, now);
        let lease = tier.lease(ask, trials, now);
        if trials {
            self.schedule_trials(tier, now);
        }
        lease
    }

    /// A tier at a time: of those that may be tried, the one whose last attempt is oldest; the first of equals.
    fn last_resort(&self, ask: &Ask<'_>, seen: &Survey, now: Timestamp) -> Resort {
        let admitted = |seat: &Seat| match seat.peer.cell.admission(now) {
            Admission::LastResort | Admission::Trial => true,
            Admission::SaysNo => seen.all_say_no && self.config.try_when_all_fail,
            _ => false,
        };
        let mut full = false;
        for tier in &self.tiers {
            let untried = tier.seats.iter().filter(|seat| admitted(seat) && !ask.tried.contains(seat.peer.id));
            let mut candidates: Vec<&Seat> = untried.collect();
            candidates.sort_by_key(|seat| seat.peer.last_attempt());
            let newest = candidates.last().and_then(|seat| seat.peer.last_attempt()).unwrap_or_default();
            // Requests within one microsecond take turns, too.
            let stamp = now.max(Timestamp::micros(newest.as_micros() + 1));
            let lease = candidates.iter().find_map(|seat| Lease::take(seat, Terms::LastResort { stamp }, ask, now));
            if let Some(lease) = lease {
                return Resort::Lease(lease);
            }
            full |= !candidates.is_empty();
        }
        if full { Resort::Full } else { Resort::Nobody }
    }

    fn full(&self) -> Refused {
        match self.config.queue {
            Some(_) => Refused::Wait(WaitFor::Room),
            None => Refused::Nobody(Nobody::for_room(Why::Full)),
        }
    }

    pub(super) fn nobody(&self, ask: &Ask<'_>, now: Timestamp) -> Nobody {
        let why = match (self.is_empty(), ask.tried.is_empty()) {
            (true, _) => Why::NoPeers,
            (false, true) => Why::Unavailable,
            (false, false) => Why::AllTried,
        };
        let next = self.seats().filter_map(|seat| seat.peer.next_look(now)).min();
        let wait = match next {
            Some(next) => next.since(now).as_micros().div_ceil(1_000_000).clamp(1, 60) as u64,
            None if why == Why::NoPeers => NEXT_ANSWER,
            None => NOTHING_PLANNED,
        };
        Nobody { why, retry_after: wait }
    }
}

/// Seconds after which a name that had no address is likely to have been asked for again.
const NEXT_ANSWER: u64 = 5;

/// Seconds to wait when neither a probe nor a trial is planned: an operator's doing.
const NOTHING_PLANNED: u64 = 60;

/// How long a request has waited already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    /// It is its turn in the queue.
    pub has_turn: bool,
    /// It has waited for a verdict as long as it should.
    pub waited_for_verdict: bool,
}

enum Resort {
    Lease(Lease),
    /// There are some, all at `max_conns`.
    Full,
    Nobody,
}

/// What a request that got no lease finds when it looks around.
#[derive(Debug, Default)]
struct Survey {
    /// Somebody became free just now.
    up_and_free: bool,
    up_and_full: bool,
    unprobed: bool,
    /// Those that could be asked at all all say no.
    all_say_no: bool,
}

impl Survey {
    fn of(group: &Group, ask: &Ask<'_>, now: Timestamp) -> Survey {
        let mut seen = Survey { all_say_no: true, ..Survey::default() };
        for seat in group.seats() {
            let untried = !ask.tried.contains(seat.peer.id);
            match seat.peer.cell.admission(now) {
                Admission::Ordinary if untried && seat.has_room() => seen.up_and_free = true,
                Admission::Ordinary if untried => seen.up_and_full = true,
                Admission::Unprobed => seen.unprobed = true,
                Admission::Ordinary | Admission::Trial | Admission::LastResort => seen.all_say_no = false,
                Admission::SaysNo | Admission::Bound | Admission::Refused => {}
            }
        }
        seen
    }
}

impl Nobody {
    pub(super) fn for_room(why: Why) -> Nobody {
        Nobody { why, retry_after: 1 }
    }

    /// A reload has removed the group.
    pub fn no_group() -> Nobody {
        Nobody { why: Why::NoPeers, retry_after: NEXT_ANSWER }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NoPeers => "no peers",
            Why::Unavailable => "no live peers",
            Why::AllTried => "all live peers tried",
            Why::Full => "all peers at max_conns",
            Why::QueueFull => "queue full",
            Why::QueueTimeout => "queue timeout",
        })
    }
}
