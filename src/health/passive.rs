//! What does the traffic say of this peer? The third voice.

use super::window::Window;
use super::{Detail, Policy, Reason};
use crate::clock::Timestamp;

/// The failures within the window, and what followed from them.
#[derive(Clone, Debug, Default)]
pub(super) struct Voice {
    window: Window,
    standing: Standing,
}

#[derive(Clone, Debug, Default)]
enum Standing {
    #[default]
    Serves,
    /// Ought to be ejected, and is not, for the cap's sake.
    Kept {
        percent: u8,
        detail: Detail,
    },
    Ejected(Ejection),
}

#[derive(Clone, Debug)]
struct Ejection {
    since: Timestamp,
    last_failure: Timestamp,
    /// For soft failures alone: the cap counts it. A hard failure of a trial hardens it for good.
    soft: bool,
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
        self.ejection().map(|ejection| ejection.last_failure + policy.fail_timeout)
    }

    /// When a "kept" ends if nothing more happens.
    pub(super) fn kept_until(&self, policy: &Policy) -> Option<Timestamp> {
        self.is_kept().then(|| self.window.next_leaves(policy.fail_timeout)).flatten()
    }

    pub(super) fn failures(&self, now: Timestamp, policy: &Policy) -> u32 {
        self.window.count(now, policy.fail_timeout)
    }

    /// Why it is kept or ejected; `None`: it is neither.
    pub(super) fn objection(&self) -> Option<Reason> {
        match &self.standing {
            Standing::Serves => None,
            Standing::Kept { percent, detail } => Some(Reason::Kept { percent: *percent, detail: detail.clone() }),
            Standing::Ejected(ejection) => Some(ejection.reason.clone()),
        }
    }

    /// Counts a failure. Ejects when the window is full; whether the cap allows that is asked afterwards
    /// ([`Voice::keep`]).
    pub(super) fn fail(&mut self, now: Timestamp, hard: bool, detail: Detail, policy: &Policy) {
        if !counts(policy) {
            return;
        }
        let full = self.window.record(now, hard, policy.max_fails, policy.fail_timeout);
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
                self.standing = Standing::Ejected(Ejection { since: now, last_failure: now, soft, reason });
            }
            _ => {}
        }
    }

    /// The cap forbids the ejection: it stays, for as long as the failures are in the window.
    pub(super) fn keep(&mut self, percent: u8, now: Timestamp, policy: &Policy) {
        if let Standing::Ejected(ejection) = &self.standing {
            let detail = match &ejection.reason {
                Reason::TrafficFailed { detail, .. } | Reason::TrialFailed { detail } => detail.clone(),
                other => other.to_string().into(),
            };
            self.standing = Standing::Kept { percent, detail };
            let _ = self.elapse(now, policy);
        }
    }

    /// Everything is forgotten; `true` if that ends an ejection.
    pub(super) fn clear(&mut self) -> bool {
        let was_ejected = self.is_ejected();
        *self = Voice::default();
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
        let over = self.is_kept() && self.window.count(now, policy.fail_timeout) < policy.max_fails.max(1);
        over.then(|| {
            self.standing = Standing::Serves;
            Reason::KeptNoMore
        })
    }

    /// The configuration changed. What is ejected or kept stays so, unless failures no longer count.
    pub(super) fn reconfigure(&mut self, policy: &Policy) -> Option<Reason> {
        let objected = self.objection().is_some();
        if counts(policy) {
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

/// Whether failures of traffic mean anything under this policy.
fn counts(policy: &Policy) -> bool {
    policy.max_fails > 0 && !policy.fail_timeout.is_zero()
}
