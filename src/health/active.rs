//! What do the probes say of this peer? The second voice.

use std::time::Duration;

use super::{Detail, Evidence, Pace, Reason, Seen, Thresholds};
use crate::clock::Timestamp;

/// How long a peer without a verdict is probed every 250 ms.
const EAGER: Duration = Duration::from_secs(30);

/// What one look must give where no check is configured, and a connect failed.
const ONE_PASS: Thresholds = Thresholds { fails: 1, passes: 1 };

/// The verdict of the probes, and what counts towards the next.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    /// `None`: no check is configured, and the verdict is always [`Verdict::Allowed`].
    thresholds: Option<Thresholds>,
    verdict: Verdict,
    /// Failures in a row.
    failures: u32,
    /// Passes in a row while unhealthy.
    passes: u32,
    latest_passed: Option<bool>,
    drains_itself: bool,
    /// Probes that began earlier asked another question, or another incarnation of the peer.
    valid_since: Timestamp,
    /// When the previous probe began.
    previous_began: Timestamp,
}

#[derive(Clone, Debug)]
enum Verdict {
    Allowed,
    Checking {
        since: Timestamp,
        latest: Option<Detail>,
        /// How requests failed that had passed probes before; `None`: it never passed any.
        doubt: Option<Detail>,
    },
    /// `count` of the `of` that it took, or more, failed in a row; the latest like this.
    Unhealthy {
        evidence: Evidence,
        detail: Detail,
        count: u32,
        of: u32,
    },
}

impl Voice {
    /// A peer nobody has looked at: allowed if no check is configured, else checking.
    pub(super) fn new(thresholds: Option<Thresholds>, now: Timestamp) -> Voice {
        let verdict = match thresholds {
            None => Verdict::Allowed,
            Some(_) => Verdict::Checking { since: now, latest: None, doubt: None },
        };
        Voice {
            thresholds,
            verdict,
            failures: 0,
            passes: 0,
            latest_passed: None,
            drains_itself: false,
            valid_since: now,
            previous_began: now,
        }
    }

    pub(super) fn allows(&self) -> bool {
        matches!(self.verdict, Verdict::Allowed)
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        matches!(self.verdict, Verdict::Unhealthy { .. })
    }

    /// What made it unhealthy; `None`: it is not.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        match self.verdict {
            Verdict::Unhealthy { evidence, .. } => Some(evidence),
            _ => None,
        }
    }

    pub(super) fn drains_itself(&self) -> bool {
        self.drains_itself
    }

    /// Whether no probe has ended since the peer is being checked.
    pub(super) fn is_unprobed(&self) -> bool {
        matches!(self.verdict, Verdict::Checking { latest: None, .. })
    }

    /// Whether a trial may go ahead: no check is configured, or its latest probe passed.
    pub(super) fn permits_trial(&self) -> bool {
        self.thresholds.is_none() || self.latest_passed == Some(true)
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn passes(&self) -> u32 {
        self.passes
    }

    pub(super) fn latest_passed(&self) -> Option<bool> {
        self.latest_passed
    }

    /// Why it does not allow; `None`: it does.
    pub(super) fn objection(&self) -> Option<Reason> {
        match &self.verdict {
            Verdict::Allowed => None,
            Verdict::Checking { doubt: Some(detail), .. } => Some(Reason::MayHaveMoved { detail: detail.clone() }),
            Verdict::Checking { latest: None, .. } => Some(Reason::AwaitsProbe),
            Verdict::Checking { latest: Some(detail), .. } => Some(Reason::NeverPassed { detail: detail.clone() }),
            Verdict::Unhealthy { evidence, detail, count, of } => {
                let (count, of, evidence) = (*count, *of, *evidence);
                Some(Reason::ProbesFailed { count, of, evidence, detail: detail.clone() })
            }
        }
    }

    pub(super) fn pace(&self, now: Timestamp) -> Pace {
        match self.verdict {
            Verdict::Checking { since, .. } if now.since(since) < EAGER => Pace::Every250ms,
            Verdict::Allowed if self.thresholds.is_none() => Pace::None,
            Verdict::Unhealthy { .. } if self.passes > 0 => Pace::Every250ms,
            _ => Pace::Interval,
        }
    }

    /// Takes note of a probe. `last_success`: when a live request last succeeded,
    /// to the millisecond. Says why it allows, if it begins to.
    pub(super) fn hear(
        &mut self,
        began: Timestamp,
        seen: Seen,
        lagged: bool,
        last_success: Timestamp,
    ) -> Option<Reason> {
        let rule = self.thresholds.or((!self.allows()).then_some(ONE_PASS));
        let rule = rule.filter(|_| began >= self.valid_since)?;
        let previous_began = std::mem::replace(&mut self.previous_began, began);
        let failed = match seen {
            Seen::Pass => return self.pass(rule),
            Seen::TimedOut { .. } if lagged => return None,
            Seen::DrainingItself if self.allows() => {
                self.latest_passed = Some(false);
                self.drains_itself = true;
                return None;
            }
            Seen::DrainingItself => (Evidence::Status, Detail::from("the application is shutting down")),
            Seen::BadStatus { detail } => (Evidence::Status, detail),
            Seen::Unreachable { detail } => (Evidence::Unreachable, detail),
            Seen::TimedOut { detail } => (Evidence::TimedOut, detail),
        };
        self.latest_passed = Some(false);
        // Applications with one worker answer probes late while they are busy with requests.
        let busy = failed.0 == Evidence::TimedOut && last_success.as_millis() >= previous_began.as_millis();
        if !(busy && self.allows()) {
            self.fail(rule, failed.0, failed.1);
        }
        None
    }

    fn pass(&mut self, rule: Thresholds) -> Option<Reason> {
        self.latest_passed = Some(true);
        let count = match self.verdict {
            Verdict::Allowed => {
                self.failures = 0;
                return std::mem::take(&mut self.drains_itself).then_some(Reason::DrainsNoMore);
            }
            Verdict::Checking { .. } => 1,
            Verdict::Unhealthy { .. } => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                if self.passes < rule.passes {
                    return None;
                }
                self.passes
            }
        };
        self.allow();
        Some(Reason::ProbesPassed { count })
    }

    fn fail(&mut self, rule: Thresholds, evidence: Evidence, detail: Detail) {
        self.failures = self.failures.saturating_add(1);
        match &mut self.verdict {
            Verdict::Allowed if self.failures < rule.fails => {}
            Verdict::Allowed => {
                let (count, of) = (self.failures, rule.fails.max(1));
                self.verdict = Verdict::Unhealthy { evidence, detail, count, of };
                self.drains_itself = false;
            }
            Verdict::Checking { latest, .. } => *latest = Some(detail),
            Verdict::Unhealthy { evidence: e, detail: d, count, .. } => {
                *count = (*count).max(self.failures);
                (*e, *d) = (evidence, detail);
            }
        }
        self.passes = 0;
    }

    /// A request of last resort succeeded: that refutes probes which only timed out. Says why it allows, if it begins to.
    pub(super) fn refute(&mut self) -> Option<Reason> {
        (self.evidence()? == Evidence::TimedOut).then(|| {
            self.allow();
            Reason::AnswersAfterAll
        })
    }

    /// A request failed at an address that may be another's by now: it must pass a probe that begins after that.
    pub(super) fn doubt(&mut self, detail: Detail, now: Timestamp) {
        if !self.is_unhealthy() {
            self.verdict = Verdict::Checking { since: now, latest: None, doubt: Some(detail) };
        }
        self.failures = 0;
        self.latest_passed = None;
        self.valid_since = now;
    }

    /// The configuration changed. A verdict stays as long as there is a check; `changed`: anything of it differs.
    pub(super) fn reconfigure(
        &mut self,
        thresholds: Option<Thresholds>,
        changed: bool,
        now: Timestamp,
    ) -> Option<Reason> {
        let before = std::mem::replace(&mut self.thresholds, thresholds);
        match (before, thresholds) {
            (None, None) => None,
            (None, Some(_)) => {
                *self = Voice { verdict: self.verdict.clone(), ..Voice::new(thresholds, now) };
                None
            }
            (Some(_), None) => {
                let objected = !self.allows() || self.drains_itself;
                *self = Voice::new(None, now);
                objected.then_some(Reason::CheckRemoved)
            }
            (Some(old), Some(new)) => {
                if changed {
                    self.valid_since = now;
                }
                if changed || old != new {
                    self.failures = 0;
                    self.passes = 0;
                }
                None
            }
        }
    }

    fn allow(&mut self) {
        self.verdict = Verdict::Allowed;
        self.failures = 0;
        self.passes = 0;
    }
}
