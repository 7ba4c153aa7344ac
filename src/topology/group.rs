//! Who could serve this request? A group of peers in two tiers, and what it keeps across snapshots.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::acquire::Undecided;
use super::binding::Binding;
use super::budget::RetryBudget;
use super::queue::Queue;
use super::tier::{Seat, Tier};
use crate::balancer::Distribution;
use crate::clock::Timestamp;
use crate::config::model::Upstream;
use crate::health::Pool;
use crate::id::{GroupId, PeerId};

/// A group as one snapshot has it.
#[derive(Debug)]
pub struct Group {
    /// What it keeps across snapshots.
    pub state: Arc<GroupState>,
    /// Its `[upstream.NAME]` as configured.
    pub config: Arc<Upstream>,
    /// Primaries, backups: in the order they are asked.
    pub(super) tiers: [Tier; 2],
    /// How it binds clients to peers; `None`: it does not.
    pub binding: Option<Binding>,
}

/// What a group keeps across snapshots: its identity, and what its requests share.
#[derive(Debug)]
pub struct GroupState {
    /// Told apart from every other group of this process.
    pub id: GroupId,
    /// The name in the table's header.
    pub name: Arc<str>,
    /// Since when it exists.
    pub began: Timestamp,
    /// How many retries its requests may cost.
    pub budget: RetryBudget,
    pub(super) pool: Arc<Pool>,
    pub(super) queue: Arc<Queue>,
    /// Woken at every probe's end and every transition: for requests that wait for a verdict.
    pub(super) changed: Notify,
    /// How many of them do.
    pub(super) undecided: Undecided,
    /// No trial of a primary, of a backup, is due before this, in microseconds.
    next_trial: [AtomicU64; 2],
    /// How long its answers took lately, where `hedge_after` goes by that.
    waits: ArcSwapOption<Distribution>,
    /// The published snapshot of this group: whose balancers are to be told. A lease may be older than that.
    current: Mutex<Weak<Group>>,
}

/// How many attempts a request may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// At peers that may have seen something of it.
    pub asked: u32,
    /// These, and those whose connect failed: replicas that have just gone cost an application nothing, and several may
    /// go at once.
    pub in_all: u32,
}

/// Attempts that may reach an application where `proxy_next_upstream_tries` is 0: three retries, as HAProxy makes. With
/// two, one GET of some thousands failed where three of five replicas were killed within 40 ms.
const USUAL_TRIES: u32 = 4;
/// Attempts beside them that reach nobody.
const MOST_UNREACHED: u32 = 8;

impl Group {
    /// Told apart from every other group of this process.
    pub fn id(&self) -> GroupId {
        self.state.id
    }

    /// The name in the table's header.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Primaries, backups.
    pub fn tiers(&self) -> &[Tier; 2] {
        &self.tiers
    }

    /// All peers, primaries first.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.tiers.iter().flat_map(|tier| &tier.seats)
    }

    /// How many peers it has.
    pub fn len(&self) -> usize {
        self.tiers.iter().map(|tier| tier.seats.len()).sum()
    }

    /// Whether it has no peers: nothing was resolved yet, or nothing is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many attempts a request may make: `proxy_next_upstream_tries`, or (0) four, and besides them some whose
    /// connect failed; each at another peer, and at least one.
    pub fn tries(&self, configured: u32) -> Tries {
        let peers = u32::try_from(self.len()).unwrap_or(u32::MAX).max(1);
        match configured {
            0 => Tries { asked: peers.min(USUAL_TRIES), in_all: peers.min(USUAL_TRIES + MOST_UNREACHED) },
            tries => Tries { asked: tries.min(peers), in_all: tries.min(peers) },
        }
    }

    /// Whether one more retry is within the group's budget, which it is charged to if so.
    pub fn try_retry(&self, now: Timestamp) -> bool {
        self.state.budget.try_retry(&self.config.retry_budget, now)
    }

    /// How many requests wait in the queue.
    pub fn waiting(&self) -> usize {
        self.state.queue.waiting()
    }

    /// How many requests the queue turned away.
    pub fn overflows(&self) -> u64 {
        self.state.queue.overflows()
    }

    /// Makes this the snapshot whose balancers hear of changes, and tells them what is so now.
    pub(super) fn take_over(self: &Arc<Group>, now: Timestamp) {
        // In this order: a change before it is seen in the cells below, one after it is told to this snapshot.
        *self.state.current() = Arc::downgrade(self);
        for tier in &self.tiers {
            tier.watch_seats();
            tier.tell_balancer(now);
            self.schedule_trials(tier, now);
        }
    }

    /// Whether a trial of a tier may be due.
    pub(super) fn trial_is_due(&self, tier: &Tier, now: Timestamp) -> bool {
        now.as_micros() >= self.state.next_trial[tier.which as usize].load(Relaxed)
    }

    /// Finds out when the next trial of a tier is due.
    pub(super) fn schedule_trials(&self, tier: &Tier, now: Timestamp) {
        let next_trial = &self.state.next_trial[tier.which as usize];
        // First forget, then look: what a concurrent `trial_due` says is kept.
        next_trial.store(u64::MAX, SeqCst);
        next_trial.fetch_min(tier.next_trial(now).as_micros(), SeqCst);
    }
}

impl GroupState {
    pub(super) fn new(name: Arc<str>, max_ejected: u8, now: Timestamp) -> GroupState {
        GroupState {
            id: GroupId::fresh(),
            name,
            began: now,
            budget: RetryBudget::default(),
            pool: Arc::new(Pool::new(max_ejected)),
            queue: Arc::default(),
            changed: Notify::new(),
            undecided: Undecided::default(),
            next_trial: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            waits: ArcSwapOption::empty(),
            current: Mutex::new(Weak::new()),
        }
    }

    /// The wait for the head that `percent` of its answers did not exceed lately; `None`: too little is known.
    pub fn usual_wait(&self, percent: u8) -> Option<Duration> {
        self.waits.load().as_ref().and_then(|waits| waits.quantile(percent))
    }

    /// Says how long its answers took lately.
    pub fn set_waits(&self, waits: Distribution) {
        self.waits.store(Some(Arc::new(waits)));
    }

    /// A peer's trial is due at `at`. Of which tier it is now does not matter: the other looks once in vain.
    pub(super) fn trial_due(&self, at: Timestamp) {
        self.next_trial.iter().for_each(|next| _ = next.fetch_min(at.as_micros(), SeqCst));
    }

    /// A peer became available or unavailable: its tier's balancer hears of it.
    pub(super) fn availability_changed(&self, peer: PeerId, now: Timestamp) {
        let current = self.current().upgrade();
        let tiers = current.iter().flat_map(|group| &group.tiers);
        tiers
            .filter(|tier| tier.seats.iter().any(|seat| seat.peer.id == peer))
            .for_each(|tier| tier.tell_balancer(now));
    }

    /// Lets everybody who waits look again.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
        self.queue.sweep();
    }

    fn current(&self) -> MutexGuard<'_, Weak<Group>> {
        // Only a pointer is moved under this lock, so it cannot be left half done.
        self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
