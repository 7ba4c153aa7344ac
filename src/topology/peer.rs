//! What is known of one peer, whatever is reloaded around it?

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::PeerTransition;
use super::group::GroupState;
use super::watch::Watch;
use crate::balancer::Latency;
use crate::clock::Timestamp;
use crate::health::{Admission, Cell, Command, LeaseFacts, Outcome, Seen, Signal, State, Transition};
use crate::id::PeerId;

/// One address of one `server`. Its identity never changes; its parameters (weight, max_conns, …) are the snapshot's:
/// see [`Seat`](super::Seat).
#[derive(Debug)]
pub struct Peer {
    /// Told apart from every other peer of this process.
    pub id: PeerId,
    /// What its group keeps across snapshots.
    pub group: Arc<GroupState>,
    /// The `server` as written.
    pub text: Arc<str>,
    /// `ip:port`: `$upstream_addr`.
    pub name: Arc<str>,
    /// Where it is.
    pub addr: SocketAddr,
    /// The name it was found by; `None` for a literal address.
    pub host: Option<Arc<str>>,
    /// How many servers of its group before it have the same text and address.
    pub ordinal: u32,
    /// How it is.
    pub cell: Cell,
    /// How fast it is.
    pub latency: Latency,
    /// What it has done so far.
    pub tally: Tally,
    load: Load,
    pub(super) watch: Watch,
    next_probe: AtomicU64,
}

/// What changes with every request, on cache lines of its own: what a pick only reads must not move with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load {
    in_flight: AtomicU32,
    last_attempt: AtomicU64,
}

/// What a peer has done since it exists, for views. All are totals.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    /// Attempts that were sent to it, or tried to be.
    pub requests: AtomicU64,
    /// Answers by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub responses: [AtomicU64; 5],
    /// Attempts that failed.
    pub fails: AtomicU64,
    /// How often traffic made it unavailable.
    pub unavail: AtomicU64,
    /// Probes.
    pub checks: AtomicU64,
    /// Probes that did not pass.
    pub check_fails: AtomicU64,
    /// How often probes made it unhealthy.
    pub unhealthy: AtomicU64,
}

/// Who a peer is: what a new snapshot takes it over by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub text: Arc<str>,
    pub addr: SocketAddr,
    pub ordinal: u32,
}

impl Peer {
    pub(super) fn new(identity: Identity, host: Option<Arc<str>>, group: Arc<GroupState>, cell: Cell) -> Peer {
        let Identity { text, addr, ordinal } = identity;
        Peer {
            id: PeerId::fresh(),
            group,
            text,
            name: addr.to_string().into(),
            addr,
            host,
            ordinal,
            cell,
            latency: Latency::default(),
            tally: Tally::default(),
            load: Load::default(),
            watch: Watch::default(),
            next_probe: AtomicU64::new(0),
        }
    }

    /// Requests it is processing, over all workers: from the pick to the last byte of the body.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight.load(SeqCst)
    }

    /// When it was picked last; `None`: never.
    pub fn last_attempt(&self) -> Option<Timestamp> {
        Some(Timestamp::micros(self.load.last_attempt.load(Relaxed))).filter(|at| *at != Timestamp::ZERO)
    }

    /// A probe ended. `lagged`: weir itself was late by half the probe's limit or more.
    pub fn observe_probe(
        self: &Arc<Peer>,
        began: Timestamp,
        seen: Seen,
        lagged: bool,
        now: Timestamp,
    ) -> Option<PeerTransition> {
        self.tally.checks.fetch_add(1, Relaxed);
        if seen != Seen::Pass {
            self.tally.check_fails.fetch_add(1, Relaxed);
        }
        self.tell(Signal::Probe { began, seen, lagged }, now)
    }

    /// The operator, or the file, changes what this peer is for.
    pub fn set_operator(self: &Arc<Peer>, command: Command, now: Timestamp) -> Option<PeerTransition> {
        self.tell(Signal::Operator(command), now)
    }

    /// The prober says when it will look next: for `Retry-After`.
    pub fn probe_scheduled(&self, at: Timestamp) {
        self.next_probe.store(at.as_micros(), Relaxed);
    }

    /// The earliest time at which a probe or a trial may change what requests get here; `None`: nobody knows.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let probe = Some(Timestamp::micros(self.next_probe.load(Relaxed))).filter(|at| *at != Timestamp::ZERO);
        self.cell.next_change(now).into_iter().chain(probe).min()
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { text: self.text.clone(), addr: self.addr, ordinal: self.ordinal }
    }

    /// [`observe`](Peer::observe), with whose transition it was.
    pub(super) fn tell(self: &Arc<Peer>, signal: Signal, now: Timestamp) -> Option<PeerTransition> {
        self.observe(signal, now).map(|transition| PeerTransition { peer: self.clone(), transition })
    }

    /// The one way to the cell: whatever a signal changes, the balancer, the trials' clock and whoever waits hear of it.
    pub(super) fn observe(&self, signal: Signal, now: Timestamp) -> Option<Transition> {
        let routine = matches!(
            &signal,
            Signal::Outcome { lease: LeaseFacts { trial: false, last_resort: false, .. }, outcome: Outcome::Success }
        );
        let probe = matches!(&signal, Signal::Probe { .. });
        let transition = self.cell.observe(signal, now);
        if routine && transition.is_none() {
            return None;
        }
        if self.cell.admission(now) != Admission::Ordinary
            && let Some(due) = self.cell.verdict(now).trial_due
        {
            self.group.trial_due(due);
        }
        if let Some(transition) = &transition {
            self.count(transition);
            self.group.availability_changed(self.id, now);
        }
        if transition.is_some() || probe {
            self.group.wake();
        }
        transition
    }

    /// Takes a slot, unless `max_conns` (0: unlimited) are taken. The check and the taking are one, whatever other
    /// workers do meanwhile.
    pub(super) fn take_slot(&self, max_conns: u32) -> bool {
        let in_flight = &self.load.in_flight;
        let taken = if max_conns == 0 {
            in_flight.fetch_add(1, SeqCst);
            true
        } else {
            in_flight.fetch_update(SeqCst, SeqCst, |taken| (taken < max_conns).then(|| taken + 1)).is_ok()
        };
        if taken {
            self.watch.in_flight_changed(&|| self.in_flight());
        }
        taken
    }

    /// Frees a slot, which wakes whoever is first in the line, if there is one.
    pub(super) fn free_slot(&self) {
        // SeqCst: see `Queue::waiting`.
        self.load.in_flight.fetch_sub(1, SeqCst);
        self.watch.in_flight_changed(&|| self.in_flight());
        self.group.queue.room();
    }

    pub(super) fn has_room(&self, max_conns: u32) -> bool {
        max_conns == 0 || self.in_flight() < max_conns
    }

    /// An attempt begins: what the last resort goes by.
    pub(super) fn stamp(&self, at: Timestamp) {
        self.load.last_attempt.store(at.as_micros(), Relaxed);
    }

    fn count(&self, transition: &Transition) {
        if transition.from == transition.to {
            return;
        }
        match transition.to {
            State::Unavail => self.tally.unavail.fetch_add(1, Relaxed),
            State::Unhealthy => self.tally.unhealthy.fetch_add(1, Relaxed),
            _ => 0,
        };
    }
}

impl Tally {
    /// An answer's head came.
    pub fn response(&self, status: u16) {
        if let Some(class) = self.responses.get(usize::from(status / 100).wrapping_sub(1)) {
            class.fetch_add(1, Relaxed);
        }
    }
}
