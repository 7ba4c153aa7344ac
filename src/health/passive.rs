//! What does the traffic say of this peer? The third voice.

use std::time::Duration;

use super::outlier::Finding;
use super::window::Window;
use super::{Detail, Policy, Reason};
use crate::clock::Timestamp;

/// An outlier is left alone for at most this long, or for `fail_timeout` if that is longer. (Envoy:
/// `max_ejection_time`.)
const LONGEST: Duration = Duration::from_secs(300);

/// The failures within the window, and what followed from them; how it compares with its peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Voice {
    window: Window,
    standing: Standing,
    /// How often it was ejected as an outlier, less the intervals since in which it was none.
    outlier: u32,
}

#[derive(Clone, Debug, Default)]
enum Standing {
    #[default]
    Serves,
    /// Ought to be ejected, and is not, for the cap's sake.
    Kept {
        percent: u8,
        detail: Detail,
        /// Not before this, whatever the window says: it was an outlier.
        until: Timestamp,
    },
    Ejected(Ejection),
}

#[derive(Clone, Debug)]
struct Ejection {
    since: Timestamp,
    last_failure: Timestamp,
    /// For soft failures alone: the cap counts it. A hard failure of a trial hardens it for good.
    soft: bool,
    /// How many times `fail_timeout` it is left alone after the last failure.
    times: u32,
    reason: Reason,
}

impl Voice {
    pub(super) fn allows(&self) -> bool {
        !self.is_ejected()
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejection().is_some()
    }

    pub(super) fn is_ejected_softly(&self) -> bool {
        self.ejection().is_some_and(|ejection| ejection.soft)
    }

    pub(super) fn is_kept(&self) -> bool {
        matches!(self.standing, Standing::Kept { .. })
    }

    /// When the present ejection began.
    pub(super) fn ejected_since(&self) -> Option<Timestamp> {
        self.ejection().map(|ejection| ejection.since)
    }

    /// When a trial is due.
    pub(super) fn trial_at(&self, policy: &Policy) -> Option<Timestamp> {
        self.ejection().map(|ejection| ejection.last_failure + left_alone(policy, ejection.times))
    }

    /// When a "kept" ends if nothing more happens.
    pub(super) fn kept_until(&self, policy: &Policy) -> Option<Timestamp> {
        match self.standing {
            Standing::Kept { until, .. } => {
                Some(self.window.next_leaves(policy.fail_timeout).map_or(until, |at| at.max(until)))
            }
            _ => None,
        }
    }

    pub(super) fn failures(&self, now: Timestamp, policy: &Policy) -> u32 {
        self.window.count(now, policy.fail_timeout)
    }

    /// Why it is kept or ejected; `None`: it is neither.
    pub(super) fn objection(&self) -> Option<Reason> {
        match &self.standing {
            Standing::Serves => None,
            Standing::Kept { percent, detail, .. } => Some(Reason::Kept { percent: *percent, detail: detail.clone() }),
            Standing::Ejected(ejection) => Some(ejection.reason.clone()),
        }
    }

    /// Counts a failure. Ejects when the window is full; whether the cap allows that is asked afterwards
    /// ([`Voice::keep`]).
    pub(super) fn fail(&mut self, now: Timestamp, hard: bool, detail: Detail, policy: &Policy) {
        let full = counts(policy) && self.window.record(now, hard, policy.max_fails, policy.fail_timeout);
        match &mut self.standing {
            Standing::Ejected(ejection) => {
                ejection.last_failure = now;
                ejection.soft &= !hard;
                ejection.reason = Reason::TrialFailed { detail };
            }
            _ if full => {
                let count = self.window.count(now, policy.fail_timeout);
                let reason = Reason::TrafficFailed { count, within: policy.fail_timeout, detail };
                let soft = self.window.is_soft();
                self.standing = Standing::Ejected(Ejection { since: now, last_failure: now, soft, times: 1, reason });
            }
            _ => {}
        }
    }

    /// It was compared with its peers. An outlier is ejected, for longer each time; whether the cap allows that is
    /// asked afterwards ([`Voice::keep`]).
    pub(super) fn compare(&mut self, found: Option<Finding>, now: Timestamp, policy: &Policy) {
        let Some(found) = found else {
            self.outlier = self.outlier.saturating_sub(1);
            return;
        };
        if policy.fail_timeout.is_zero() || self.is_ejected() {
            return;
        }
        let times = self.outlier.saturating_add(1);
        self.outlier = times;
        let reason = Reason::Outlier { found, left_alone: left_alone(policy, times) };
        self.standing = Standing::Ejected(Ejection { since: now, last_failure: now, soft: true, times, reason });
    }

    /// The cap forbids the ejection: it stays, for as long as the failures are in the window.
    pub(super) fn keep(&mut self, percent: u8, now: Timestamp, policy: &Policy) {
        if let Standing::Ejected(ejection) = &self.standing {
            let (detail, until) = match &ejection.reason {
                Reason::TrafficFailed { detail, .. } | Reason::TrialFailed { detail } => {
                    (detail.clone(), Timestamp::ZERO)
                }
                Reason::Outlier { found, .. } => {
                    // It was not ejected after all.
                    self.outlier = self.outlier.saturating_sub(1);
                    (found.to_string().into(), now + policy.fail_timeout)
                }
                other => (other.to_string().into(), Timestamp::ZERO),
            };
            self.standing = Standing::Kept { percent, detail, until };
            let _ = self.elapse(now, policy);
        }
    }

    /// Everything is forgotten; `true` if that ends an ejection.
    pub(super) fn clear(&mut self) -> bool {
        let was_ejected = self.is_ejected();
        *self = Voice { outlier: self.outlier, ..Voice::default() };
        was_ejected
    }

    /// The probes let it back in: failures are forgotten, an ejection is not.
    pub(super) fn forgive(&mut self) {
        if !self.is_ejected() {
            self.clear();
        }
    }

    /// The window slides. Says so if that ends a "kept".
    pub(super) fn elapse(&mut self, now: Timestamp, policy: &Policy) -> Option<Reason> {
        self.window.slide(now, policy.fail_timeout);
        let few = self.window.count(now, policy.fail_timeout) < policy.max_fails.max(1);
        let over = matches!(self.standing, Standing::Kept { until, .. } if few && until <= now);
        over.then(|| {
            self.standing = Standing::Serves;
            Reason::KeptNoMore
        })
    }

    /// The configuration changed. What is ejected or kept stays so, unless failures no longer count.
    pub(super) fn reconfigure(&mut self, policy: &Policy) -> Option<Reason> {
        let objected = self.objection().is_some();
        let is_outlier = matches!(self.objection(), Some(Reason::Outlier { .. }));
        if counts(policy) || (is_outlier && !policy.fail_timeout.is_zero()) {
            return None;
        }
        self.clear();
        objected.then_some(Reason::NotCounted)
    }

    fn ejection(&self) -> Option<&Ejection> {
        match &self.standing {
            Standing::Ejected(ejection) => Some(ejection),
            _ => None,
        }
    }
}

/// How long a peer is left alone after its last failure.
fn left_alone(policy: &Policy, times: u32) -> Duration {
    policy.fail_timeout.saturating_mul(times).min(LONGEST.max(policy.fail_timeout))
}

/// Whether failures of traffic mean anything under this policy.
fn counts(policy: &Policy) -> bool {
    policy.max_fails > 0 && !policy.fail_timeout.is_zero()
}
