//! What is the peer's state after this? The three voices joined: one step of one peer.

use super::pool::{Footprint, Pool, Tier};
use super::slow_start::{Ramp, SlowStart};
use super::word::{Kind, Word};
use super::{
    Evidence, LeaseFacts, Operator, Origin, Outcome, Pace, Policy, Reason, Signal, State, Transition, Verdict, active,
    operator, passive,
};
use crate::clock::Timestamp;
use crate::share::FULL;

/// The health of one peer. All that happens to it goes through [`Machine::step`].
#[derive(Debug)]
pub(super) struct Machine {
    policy: Policy,
    operator: operator::Voice,
    active: active::Voice,
    passive: passive::Voice,
    slow_start: SlowStart,
    tier: Tier,
    /// What the pool counts for this peer.
    footprint: Footprint,
    shown: State,
    since: Timestamp,
    /// What brought it up last.
    why_up: Reason,
    /// The latest time seen; requests on other workers may bring slightly older ones.
    latest: Timestamp,
}

/// What a step led to.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) transition: Option<Transition>,
    /// The trial that is out came back.
    pub(super) returns_trial: bool,
}

impl Machine {
    pub(super) fn new(
        policy: Policy,
        file: Operator,
        origin: Origin,
        pool: &Pool,
        tier: Tier,
        now: Timestamp,
    ) -> Machine {
        let mut machine = Machine {
            active: active::Voice::new(policy.check, now),
            operator: operator::Voice::new(file),
            passive: passive::Voice::default(),
            slow_start: SlowStart::new(origin == Origin::JoinsLive),
            policy,
            tier,
            footprint: Footprint::default(),
            shown: State::Up,
            since: now,
            why_up: Reason::NothingAgainst,
            latest: now,
        };
        machine.shown = machine.state();
        machine.settle(pool, now);
        machine.warm(false, pool, now);
        machine
    }

    /// Takes note of one signal. `last_success`: when a live request last succeeded, to the millisecond.
    pub(super) fn step(&mut self, signal: Signal, last_success: Timestamp, pool: &Pool, now: Timestamp) -> Step {
        let now = now.max(self.latest);
        self.latest = now;
        let before = Before { down: self.operator.is_down(), unhealthy: self.active.is_unhealthy() };
        let was_kept = self.is_kept();

        let mut why_up = self.operator.elapse(now).or(self.passive.elapse(now, &self.policy));
        let (returns_trial, by_last_resort) = match &signal {
            Signal::Outcome { lease, .. } => (self.owns_trial(lease), lease.last_resort),
            _ => (false, false),
        };
        why_up = self.hear(signal, last_success, now).or(why_up);
        self.follow_up(before, now);
        self.settle(pool, now);

        let (from, kept) = (self.shown, self.is_kept());
        let to = self.state();
        let changed = from != to;
        if changed {
            self.shown = to;
            self.since = now;
            self.warm(by_last_resort, pool, now);
        }
        let turned = to == State::Up && kept != was_kept;
        if changed || turned {
            self.why_up = why_up.unwrap_or(Reason::NothingAgainst);
        }
        let transition = (changed || turned).then(|| Transition { from, to, reason: self.reason(), at: now });
        Step { transition, returns_trial }
    }

    /// Moves the peer's count to another pool or tier, as it stands.
    pub(super) fn reassign(&mut self, from: &Pool, to: &Pool, tier: Tier) {
        from.replace(self.tier, self.footprint, Footprint::default());
        to.replace(tier, Footprint::default(), self.footprint);
        self.tier = tier;
    }

    /// Takes the peer out of its pool's counts.
    pub(super) fn leave(&mut self, pool: &Pool) {
        pool.replace(self.tier, std::mem::take(&mut self.footprint), Footprint::default());
    }

    pub(super) fn tier(&self) -> Tier {
        self.tier
    }

    /// What a pick has to know.
    pub(super) fn word(&mut self, now: Timestamp) -> Word {
        let kind = match self.shown {
            State::Up => Kind::Ordinary,
            State::Draining if self.active.allows() && self.passive.allows() => Kind::Bound,
            State::Draining | State::Down => Kind::Refused,
            State::Unhealthy if self.active.evidence() == Some(Evidence::Status) => Kind::SaysNo,
            State::Unhealthy => Kind::LastResort,
            State::Checking if self.active.is_unprobed() => Kind::Unprobed,
            State::Checking => Kind::Refused,
            State::Unavail => match self.passive.trial_at(&self.policy) {
                Some(at) if self.active.permits_trial() => Kind::TrialFrom(at),
                _ => Kind::LastResort,
            },
        };
        Word::new(kind, self.ramp(now).is_some(), self.policy.check.is_some())
    }

    /// The ramp under way, if there is one.
    pub(super) fn ramp(&mut self, now: Timestamp) -> Option<Ramp> {
        self.slow_start.ramp(self.policy.slow_start, now)
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether a trial that is out belongs to an ejection that still lasts.
    pub(super) fn is_ejected(&self) -> bool {
        self.passive.is_ejected()
    }

    pub(super) fn pace(&self, now: Timestamp) -> Pace {
        if self.operator.is_down() { Pace::None } else { self.active.pace(now) }
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        [self.operator.override_until(), self.passive.kept_until(&self.policy)].into_iter().flatten().min()
    }

    /// What views show. `published`: the word that picks read.
    pub(super) fn verdict(&mut self, published: Word, now: Timestamp) -> Verdict {
        let trial_due = match published.kind() {
            Kind::TrialFrom(at) if !published.trial_out() => Some(at),
            _ => None,
        };
        Verdict {
            state: self.shown,
            reason: self.reason(),
            since: self.since,
            admission: published.admission(now),
            kept: self.is_kept(),
            trial_due,
            trial_out: published.trial_out(),
            failures: self.passive.failures(now, &self.policy),
            probe_failures: self.active.failures(),
            probe_passes: self.active.passes(),
            last_probe_passed: self.active.latest_passed(),
            override_until: self.operator.override_until(),
            ramp: self.ramp(now).map_or(FULL, |ramp| ramp.share(self.policy.slow_start, now)),
        }
    }

    /// Lets the voice that is meant hear the signal. Says why the peer is up, if this is what brings it up.
    fn hear(&mut self, signal: Signal, last_success: Timestamp, now: Timestamp) -> Option<Reason> {
        match signal {
            Signal::Operator(command) => {
                let reason = self.operator.obey(command);
                self.operator.elapse(now).or(Some(reason))
            }
            Signal::Gone => Some(self.operator.set_gone(true)),
            Signal::Present => Some(self.operator.set_gone(false)),
            Signal::Probe { began, seen, lagged } => self.active.hear(began, seen, lagged, last_success),
            Signal::Outcome { lease, outcome } => self.hear_outcome(lease, outcome, now),
            Signal::Compared { from, found } => {
                // An interval in which its state changed says nothing of this one.
                if self.shown == State::Up && from >= self.since {
                    self.passive.compare(found, now, &self.policy);
                }
                None
            }
            Signal::Lags => {
                self.slow_start.hold(self.policy.slow_start, now);
                None
            }
            Signal::PolicyChanged { policy, check_changed } => {
                let checks = self.active.reconfigure(policy.check, check_changed, now);
                self.policy = policy;
                self.passive.reconfigure(&self.policy).or(checks)
            }
            Signal::Tick => None,
        }
    }

    fn hear_outcome(&mut self, lease: LeaseFacts, outcome: Outcome, now: Timestamp) -> Option<Reason> {
        // What began under another state says nothing of this one.
        let old = lease.began < self.since;
        let serves = matches!(self.shown, State::Up | State::Draining) && self.active.allows() && self.passive.allows();
        if old || !(serves || lease.trial || lease.last_resort) {
            return None;
        }
        let (hard, detail) = match outcome {
            Outcome::Success => return self.hear_success(lease),
            Outcome::Neutral => return None,
            Outcome::Soft(_) if lease.soft_before => return None,
            Outcome::Soft(detail) => (false, detail),
            Outcome::Hard(detail) => (true, detail),
        };
        if hard && self.policy.movable {
            self.active.doubt(detail.clone(), now);
        }
        self.passive.fail(now, hard, detail, &self.policy);
        self.slow_start.stumble(now);
        None
    }

    fn hear_success(&mut self, lease: LeaseFacts) -> Option<Reason> {
        let refuted = if lease.last_resort { self.active.refute() } else { None };
        let reason = if lease.trial { Reason::TrialSucceeded } else { Reason::LastResortSucceeded };
        self.passive.clear().then_some(reason).or(refuted)
    }

    /// What one voice's change means for the others.
    fn follow_up(&mut self, before: Before, now: Timestamp) {
        if before.down && !self.operator.is_down() {
            // Whatever was known of it is as old as the time it was down.
            self.active = active::Voice::new(self.policy.check, now);
            self.passive = passive::Voice::default();
        } else if before.unhealthy && !self.active.is_unhealthy() {
            self.passive.forgive();
        }
    }

    /// Brings the pool's counts up to date, and keeps the peer up if the cap does not let it go.
    fn settle(&mut self, pool: &Pool, now: Timestamp) {
        let footprint = self.current_footprint();
        if !pool.try_replace(self.tier, self.footprint, footprint) {
            self.passive.keep(pool.max_ejected(), now, &self.policy);
            let kept = self.current_footprint();
            pool.replace(self.tier, self.footprint, kept);
            self.footprint = kept;
        } else {
            self.footprint = footprint;
        }
    }

    fn current_footprint(&self) -> Footprint {
        let state = self.state();
        Footprint {
            member: !matches!(state, State::Down | State::Draining),
            up: state == State::Up,
            ejected: state == State::Unavail && self.passive.is_ejected_softly(),
        }
    }

    /// What the new state means for a ramp.
    fn warm(&mut self, by_last_resort: bool, pool: &Pool, now: Timestamp) {
        match self.shown {
            State::Up => {
                let off = self.policy.slow_start.is_zero();
                self.slow_start.rise(off || by_last_resort || self.is_kept() || pool.has_only_one(), now);
            }
            State::Unavail | State::Unhealthy | State::Down => self.slow_start.chill(),
            State::Draining | State::Checking => self.slow_start.pause(),
        }
    }

    /// Whether this lease has the trial of the present ejection. A trial of an earlier one was given up with it.
    fn owns_trial(&self, lease: &LeaseFacts) -> bool {
        lease.trial && self.passive.ejected_since().is_some_and(|since| lease.began >= since)
    }

    fn is_kept(&self) -> bool {
        self.state() == State::Up && self.passive.is_kept()
    }

    /// The voices joined by AND: the first objection is shown.
    fn state(&self) -> State {
        if self.operator.is_down() {
            State::Down
        } else if self.operator.draining().is_some() || self.active.drains_itself() {
            State::Draining
        } else if self.active.is_unhealthy() {
            State::Unhealthy
        } else if !self.active.allows() {
            State::Checking
        } else if self.passive.is_ejected() {
            State::Unavail
        } else {
            State::Up
        }
    }

    fn reason(&self) -> Reason {
        let objection = match self.shown {
            State::Down => Some(self.operator.reason()),
            State::Draining => self.operator.draining().or(Some(Reason::DrainsItself)),
            State::Unhealthy | State::Checking => self.active.objection(),
            State::Unavail | State::Up => self.passive.objection(),
        };
        objection.unwrap_or_else(|| self.why_up.clone())
    }
}

#[derive(Clone, Copy)]
struct Before {
    down: bool,
    unhealthy: bool,
}
