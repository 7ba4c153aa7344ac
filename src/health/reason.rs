//! Why is the state what it is? One sentence with its evidence.

use std::fmt;
use std::time::Duration;

use super::{Detail, Operator};

/// Why a peer's state is what it is. Its `Display` is a short sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing speaks against it, and nothing happened yet.
    NothingAgainst,
    /// The file says so.
    File(Operator),
    /// An override says so.
    Override(Operator),
    /// An override was lifted.
    Lifted,
    /// An override expired.
    Expired,
    /// DNS or the file no longer has it.
    Gone,
    /// DNS or the file has it again.
    Present,
    /// The application answers 503 and closes its connections.
    DrainsItself,
    /// The application no longer drains itself.
    DrainsNoMore,
    /// No probe has ended yet.
    AwaitsProbe,
    /// It never passed a probe, and the latest failed.
    NeverPassed {
        /// The latest probe's.
        detail: Detail,
    },
    /// Probes failed.
    ProbesFailed {
        /// How many in a row.
        count: u32,
        /// How many it takes.
        of: u32,
        /// The latest probe's class.
        evidence: Evidence,
        /// The latest probe's.
        detail: Detail,
    },
    /// Probes passed.
    ProbesPassed {
        /// How many in a row.
        count: u32,
    },
    /// A request that was sent as a last resort succeeded, while probes only timed out.
    AnswersAfterAll,
    /// The check was removed from the configuration.
    CheckRemoved,
    /// Requests failed.
    TrafficFailed {
        /// How many within the window.
        count: u32,
        /// The window, and how long it is left alone.
        within: Duration,
        /// The latest one's.
        detail: Detail,
    },
    /// The trial, or a request of last resort, failed as well.
    TrialFailed {
        /// How it failed.
        detail: Detail,
    },
    /// The trial succeeded.
    TrialSucceeded,
    /// A request of last resort succeeded.
    LastResortSucceeded,
    /// Requests failed, and `max_ejected` of the tier are out already.
    Kept {
        /// `max_ejected`.
        percent: u8,
        /// The latest failure's.
        detail: Detail,
    },
    /// Failures left the window.
    KeptNoMore,
    /// `max_fails` or `fail_timeout` is 0 now.
    NotCounted,
}

/// What failed probes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The application answers, and says no.
    Status,
    /// Nothing that could be judged comes back.
    Unreachable,
    /// Unreachable, and only in that nothing came in time.
    TimedOut,
}

impl fmt::Display for Reason {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
