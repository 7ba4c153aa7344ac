//! Why is the state what it is? One sentence with its evidence.

use std::fmt;
use std::time::Duration;

use super::outlier::Finding;
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
    /// Requests could not connect to an address that a name gave: it may be another application's by now, and no probe
    /// has passed since.
    MayHaveMoved {
        /// How the request failed.
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
    /// It stood out among its peers, by how much failed or how long it took.
    Outlier {
        /// How.
        found: Finding,
        /// For how long it is left alone.
        left_alone: Duration,
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Reason::NothingAgainst => "nothing speaks against it",
            Reason::File(Operator::Enabled) => "enabled in the configuration",
            Reason::File(Operator::Drain) => "set to drain in the configuration",
            Reason::File(Operator::Down) => "set down in the configuration",
            Reason::Override(Operator::Enabled) => "enabled by the operator",
            Reason::Override(Operator::Drain) => "set to drain by the operator",
            Reason::Override(Operator::Down) => "set down by the operator",
            Reason::Lifted => "the operator's override was lifted",
            Reason::Expired => "the operator's override expired",
            Reason::Gone => "gone from DNS or the configuration",
            Reason::Present => "back in DNS or the configuration",
            Reason::DrainsItself => "the application drains itself: it answers 503 and closes its connections",
            Reason::DrainsNoMore => "the application no longer drains itself",
            Reason::AwaitsProbe => "no probe has ended yet",
            Reason::AnswersAfterAll => "a request of last resort succeeded, while probes only timed out",
            Reason::CheckRemoved => "its health check was removed from the configuration",
            Reason::TrialSucceeded => "a trial request succeeded",
            Reason::LastResortSucceeded => "a request of last resort succeeded",
            Reason::KeptNoMore => "no longer kept: its failures are past",
            Reason::NotCounted => "its failures no longer count: max_fails or fail_timeout is 0",
            Reason::NeverPassed { detail } => detail,
            Reason::MayHaveMoved { detail } => {
                return write!(f, "{detail}; its address may be another's by now, so it is looked at first");
            }
            Reason::ProbesFailed { count, of, detail, .. } if count > of => {
                return write!(f, "{count} probes in a row failed, the latest: {detail}");
            }
            Reason::ProbesFailed { count, of, detail, .. } => {
                return write!(f, "{count} of {of} probes failed: {detail}");
            }
            Reason::ProbesPassed { count: 1 } => "a probe passed",
            Reason::ProbesPassed { count } => return write!(f, "{count} probes in a row passed"),
            Reason::TrafficFailed { count: 1, detail, .. } => return write!(f, "a request failed: {detail}"),
            Reason::TrafficFailed { count, within, detail } => {
                return write!(f, "{count} requests failed within {within:?}, the latest: {detail}");
            }
            Reason::Outlier { found, left_alone } => {
                return write!(f, "an outlier: {found}; left alone for {left_alone:?}");
            }
            Reason::TrialFailed { detail } => return write!(f, "another try failed as well: {detail}"),
            Reason::Kept { percent, detail } => {
                return write!(f, "kept: at most {percent}% of the tier may be ejected; the latest failure: {detail}");
            }
        };
        f.write_str(text)
    }
}
