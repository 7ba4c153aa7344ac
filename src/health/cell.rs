//! How do many workers share one peer's health? The machine behind a lock, and the one atomic word that a pick reads.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::machine::Machine;
use super::slow_start::Ramp;
use super::word::{Kind, Word};
use super::{Admission, Operator, Origin, Outcome, Pace, Policy, Pool, Signal, Tier, Transition, Verdict};
use crate::clock::Timestamp;
use crate::ramp::FULL;

/// The health of one peer, shared by all workers.
///
/// Readers are requests, and read one atomic word. Writers hold the lock, and publish a new word before they let go of it. The
/// trial's token is a bit of the word that requests set by compare-and-swap, without the lock, and that only the lock's
/// holder clears: when the trial ends, or when the ejection that it was a trial of does.
#[derive(Debug)]
pub struct Cell {
    word: AtomicU64,
    /// When a live request last succeeded, in milliseconds. Kept only if there is a check, and written at most once a
    /// millisecond, so that picks on other cores keep their cache line.
    last_success: AtomicU64,
    ramp: AtomicRamp,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    machine: Machine,
    pool: Arc<Pool>,
}

/// The ramp as of the latest word. Its parts may be read in the middle of a change; that costs one pick its accuracy.
#[derive(Debug, Default)]
struct AtomicRamp {
    start: AtomicU64,
    still_until: AtomicU64,
    length: AtomicU64,
}

impl Cell {
    /// The health of a peer that joins `tier` of `pool`. `operator` is what the file says. Without a check it is up,
    /// else checking. The pool forgets it when the cell is dropped.
    pub fn new(
        policy: Policy,
        operator: Operator,
        origin: Origin,
        pool: &Arc<Pool>,
        tier: Tier,
        now: Timestamp,
    ) -> Cell {
        let machine = Machine::new(policy, operator, origin, pool, tier, now);
        let cell = Cell {
            word: AtomicU64::default(),
            last_success: AtomicU64::default(),
            ramp: AtomicRamp::default(),
            shared: Mutex::new(Shared { machine, pool: Arc::clone(pool) }),
        };
        cell.publish(&mut cell.lock().machine, false, now);
        cell
    }

    /// Moves the peer to another pool or tier, as a reload may. Its verdict stays.
    pub fn assign(&self, pool: &Arc<Pool>, tier: Tier) {
        let mut shared = self.lock();
        if Arc::ptr_eq(&shared.pool, pool) && shared.machine.tier() == tier {
            return;
        }
        let from = std::mem::replace(&mut shared.pool, Arc::clone(pool));
        shared.machine.reassign(&from, pool, tier);
    }

    /// What a request may do with the peer now. One atomic load and a comparison.
    pub fn admission(&self, now: Timestamp) -> Admission {
        self.word().admission(now)
    }

    /// Takes the trial of an unavailable peer whose time has passed. `true`: the caller alone has it, until it reports
    /// an outcome with [`super::LeaseFacts::trial`] set, whose lease began at `now`. One compare-and-swap.
    pub fn take_trial(&self, now: Timestamp) -> bool {
        let word = self.word();
        word.admission(now) == Admission::Trial
            && self.word.compare_exchange(word.bits(), word.with_trial_out(true).bits(), AcqRel, Acquire).is_ok()
    }

    /// Takes note of something. The success of an ordinary lease, while the peer serves, takes no lock. All else takes
    /// the cell's own, and that of its pool for a moment.
    ///
    /// Whoever gets a [`Transition`] logs it, and tells the tier's balancer if it is to or from [`super::State::Up`].
    pub fn observe(&self, signal: Signal, now: Timestamp) -> Option<Transition> {
        if let Signal::Outcome { lease, outcome } = &signal {
            let word = self.word();
            if *outcome == Outcome::Success && word.checked() {
                self.stamp_success(now);
            }
            let no_news = match outcome {
                Outcome::Success => word.serves(),
                Outcome::Neutral => !lease.trial,
                Outcome::Hard(_) | Outcome::Soft(_) => false,
            };
            if no_news {
                return None;
            }
        }
        let last_success = Timestamp::millis(self.last_success.load(Relaxed));
        let mut shared = self.lock();
        let Shared { machine, pool } = &mut *shared;
        let step = machine.step(signal, last_success, pool, now);
        self.publish(machine, step.returns_trial, now);
        step.transition
    }

    /// How much of its weight the peer gets now, in 1/1024 ([`FULL`]): less while it ramps up. Takes no lock.
    pub fn ramp(&self, now: Timestamp) -> u32 {
        if self.word().ramps() { self.ramp.share(now) } else { FULL }
    }

    /// All there is to say of the peer, for views.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        let mut shared = self.lock();
        shared.machine.verdict(self.word(), now)
    }

    /// When requests may next get at the peer without a probe's doing: the trial, for `Retry-After`. `now` if a trial is
    /// due or under way; `None`: that is for probes or the operator to say. Takes no lock.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        match self.word().kind() {
            Kind::TrialFrom(at) => Some(at.max(now)),
            _ => None,
        }
    }

    /// When [`Signal::Tick`] is next due: an override expires, or a "kept" ends. `None`: nothing waits for time.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.lock().machine.wake_at()
    }

    /// Judges by another policy from now on: [`Signal::PolicyChanged`].
    pub fn update_policy(&self, policy: Policy, check_changed: bool, now: Timestamp) -> Option<Transition> {
        self.observe(Signal::PolicyChanged { policy, check_changed }, now)
    }

    /// How often to probe the peer now.
    pub fn probe_pace(&self, now: Timestamp) -> Pace {
        self.lock().machine.pace(now)
    }

    /// Makes the machine's state what picks read. Called by the lock's holder.
    fn publish(&self, machine: &mut Machine, returns_trial: bool, now: Timestamp) {
        if let Some(ramp) = machine.ramp(now) {
            self.ramp.store(ramp, machine.policy().slow_start);
        }
        let (word, ejected) = (machine.word(now), machine.is_ejected());
        // A request may take the trial meanwhile: the word is retried until its token is the one carried over.
        let carried = |old: u64| {
            let out = Word::from_bits(old).trial_out() && ejected && !returns_trial;
            Some(word.with_trial_out(out).bits())
        };
        let _ = self.word.fetch_update(Release, Acquire, carried);
    }

    /// Does something while another has the lock.
    #[cfg(test)]
    pub(super) fn while_locked(&self, work: impl FnOnce()) {
        let _held = self.lock();
        work();
    }

    fn stamp_success(&self, now: Timestamp) {
        if self.last_success.load(Relaxed) < now.as_millis() {
            self.last_success.fetch_max(now.as_millis(), Relaxed);
        }
    }

    fn word(&self) -> Word {
        Word::from_bits(self.word.load(Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A step cannot panic half-way; should one, the peer's health goes on rather than end every request to it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let mut shared = self.lock();
        let Shared { machine, pool } = &mut *shared;
        machine.leave(pool);
    }
}

impl AtomicRamp {
    fn store(&self, ramp: Ramp, length: Duration) {
        self.start.store(ramp.start.as_micros(), Relaxed);
        self.still_until.store(ramp.still_until.as_micros(), Relaxed);
        self.length.store(u64::try_from(length.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn share(&self, now: Timestamp) -> u32 {
        let at = |time: &AtomicU64| Timestamp::micros(time.load(Relaxed));
        let ramp = Ramp { start: at(&self.start), still_until: at(&self.still_until) };
        ramp.share(Duration::from_micros(self.length.load(Relaxed)), now)
    }
}
