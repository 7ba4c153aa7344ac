//! How is this peer? One machine with three voices (operator, probes, traffic), joined into one state with one reason.
//!
//! Pure: time is an argument, nothing is logged, nothing is random. `docs/health.md` says the same for users.
//!
//! | file | question |
//! | --- | --- |
//! | `operator` | what does whoever runs weir want? |
//! | `active` | what do the probes say? |
//! | `passive`, `window` | what does the traffic say? |
//! | `outlier` | who of a tier stands out among its peers? |
//! | `slow_start` | how much of its weight may a peer that came back have already? |
//! | `pool` | how many of a tier are out, and may one more go? |
//! | `machine` | the three voices joined: one step of one peer |
//! | `cell`, `word` | the machine shared between workers: requests read one atomic word |
//! | `reason` | why is the state what it is? |

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

mod active;
mod cell;
mod machine;
mod operator;
pub mod outlier;
mod passive;
mod pool;
mod reason;
mod slow_start;
#[cfg(test)]
mod tests;
mod window;
mod word;

pub use cell::Cell;
pub use pool::{Counts, Pool, Tier};
pub use reason::{Evidence, Reason};

/// What a peer's health is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `max_fails`; 0: failures of traffic are not counted.
    pub max_fails: u32,
    /// `fail_timeout`: the window of failures, and the time a peer is left alone. Zero: left alone for no time at all,
    /// so failures are not counted either.
    pub fail_timeout: Duration,
    /// The thresholds of the active check, if there is one.
    pub check: Option<Thresholds>,
    /// `slow_start`; zero is off.
    pub slow_start: Duration,
    /// Its address was found by a name, so that it may be another application's by now: after a hard failure it is
    /// looked at before it is used again.
    pub movable: bool,
}

/// Thresholds of the active check. Zero is read as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that make a peer unhealthy.
    pub fails: u32,
    /// Passes in a row that make it healthy again.
    pub passes: u32,
}

/// The state of a peer, by the API's names (ngx_http_api_module, `state`). If several apply, the one shown is the first
/// of: down, draining, unhealthy, checking, unavail, up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Gets ordinary traffic.
    Up,
    /// Set to drain, gone from DNS or the file, or draining itself: only requests bound to it.
    Draining,
    /// Set down.
    Down,
    /// Traffic failed too often.
    Unavail,
    /// No passed probe yet.
    Checking,
    /// Probes fail.
    Unhealthy,
}

/// What a request may do with a peer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Ordinary traffic.
    Ordinary,
    /// Unavailable, its time has passed and its trial is free: one request that may be retried, if
    /// [`Cell::take_trial`] says yes. Whoever does not get or want the trial may still use it as a last resort.
    Trial,
    /// Draining while the other voices allow: requests bound to it.
    Bound,
    /// Only when nobody else is left.
    LastResort,
    /// Its own health check answers, and says no: nothing, unless *every* peer is so and `when_all_fail = "last_resort"`.
    SaysNo,
    /// No probe has said anything yet: worth waiting for.
    Unprobed,
    /// Nothing.
    Refused,
}

/// What was seen, in a few words of weir's own: `connection refused`, `GET /health answered 500`. Cheap to clone.
pub type Detail = Arc<str>;

/// Something that may change a peer's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The operator, or the file, says what this peer is for.
    Operator(Command),
    /// DNS or the file no longer has it.
    Gone,
    /// DNS or the file has it again.
    Present,
    /// A probe ended.
    Probe {
        /// When it began.
        began: Timestamp,
        /// What it saw.
        seen: Seen,
        /// Weir's own lag was half the limit or more: a time-out is then no evidence at all.
        lagged: bool,
    },
    /// An attempt of a request ended.
    Outcome {
        /// Under what terms it had the peer.
        lease: LeaseFacts,
        /// How it went.
        outcome: Outcome,
    },
    /// What its requests came to in an interval was compared with its peers ([`outlier::outliers`]).
    Compared {
        /// When the interval began.
        from: Timestamp,
        /// How it stands out; `None`: it does not.
        found: Option<outlier::Finding>,
    },
    /// Its answers take longer than those of its peers: if it ramps up, that is held back.
    Lags,
    /// A reload changed what the peer is judged by.
    PolicyChanged {
        /// The new policy.
        policy: Policy,
        /// Whether anything in `health_check` differs, not only its thresholds.
        check_changed: bool,
    },
    /// Nothing but time passed: lets an override expire and a "kept" end. Due at [`Cell::wake_at`].
    Tick,
}

/// What the operator wants of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operator {
    /// Whatever probes and traffic say.
    #[default]
    Enabled,
    /// Only requests bound to it.
    Drain,
    /// Nothing, no probes either.
    Down,
}

/// How the operator's wish changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// What the file says. If it differs from what the file said before, it ends an override.
    File(Operator),
    /// Beats the file until lifted, expired, or the file's value changes.
    Override {
        /// To what.
        to: Operator,
        /// `--for`: when it expires.
        until: Option<Timestamp>,
    },
    /// The file decides again.
    Lift,
}

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All that was asked for.
    Pass,
    /// The application answered, and not as asked.
    BadStatus {
        /// Such as `GET /health answered 404: the application has no such route`.
        detail: Detail,
    },
    /// No answer that could be judged.
    Unreachable {
        /// Such as `connection refused`.
        detail: Detail,
    },
    /// No whole answer in time.
    TimedOut {
        /// Such as `no answer within 1s`.
        detail: Detail,
    },
    /// 503 with `Connection: close`, from an application whose earlier answers kept the connection.
    DrainingItself,
}

/// Under what terms an attempt had its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseFacts {
    /// When the peer was picked.
    pub began: Timestamp,
    /// It holds the trial ([`Cell::take_trial`] said yes). Its outcome must come, whatever it is, or the token is lost:
    /// an attempt that is dropped is [`Outcome::Neutral`].
    pub trial: bool,
    /// It was picked because nobody else was left.
    pub last_resort: bool,
    /// An earlier attempt of the same request was a soft failure: one more is not counted, since a poison request must
    /// not empty the pool.
    pub soft_before: bool,
}

/// How an attempt went, as far as the peer is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Success,
    /// Connect refused, timed out or unreachable; TLS failure. Never capped.
    Hard(Detail),
    /// Reset, close or time-out before the head; malformed; cut body; a status named in `proxy_next_upstream`; latency
    /// outlier; the client giving up after a long wait. Capped by `max_ejected`.
    Soft(Detail),
    /// Quick client abort, stale pooled connection, hedge loser, abandoned attempt, queue, max_conns: says nothing.
    Neutral,
}

/// When a peer joins a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// With the group: at start, or with the first answer for its name.
    ProcessStart,
    /// Others serve already: it ramps up (`slow_start`) once it is up.
    JoinsLive,
}

/// How often to probe a peer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every 250 ms: somebody is waiting for the verdict.
    Every250ms,
    /// Every `interval`.
    Interval,
    /// Not at all.
    None,
}

/// The shown state changed, or the peer became or ceased to be "kept" (then `from` and `to` are both up). To be logged
/// once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What was shown before.
    pub from: State,
    /// What is shown now.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
}

impl Transition {
    /// Whether attempts that wait for this peer's first answer byte, and are safe to repeat, should be abandoned and
    /// retried elsewhere: it entered unhealthy, and not because its application answered so.
    pub fn abandons_attempts(&self) -> bool {
        self.from != self.to
            && self.to == State::Unhealthy
            && matches!(&self.reason, Reason::ProbesFailed { evidence, .. } if *evidence != Evidence::Status)
    }
}

/// All that a view says of a peer's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is shown.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// Since when this state is shown.
    pub since: Timestamp,
    /// What a request may do with it now.
    pub admission: Admission,
    /// It would be unavailable, and is kept because `max_ejected` of its tier are out already.
    pub kept: bool,
    /// When the next trial is due; `None`: it needs none, has one under way, or waits for a probe to pass.
    pub trial_due: Option<Timestamp>,
    /// Whether a trial is under way.
    pub trial_out: bool,
    /// Failures of traffic within the window. What lies beyond `max_fails` need not be in it.
    pub failures: u32,
    /// Probes that failed in a row.
    pub probe_failures: u32,
    /// Probes that passed in a row while unhealthy.
    pub probe_passes: u32,
    /// How the latest probe went; `None`: there was none (yet).
    pub last_probe_passed: Option<bool>,
    /// When an override of the operator's expires by itself.
    pub override_until: Option<Timestamp>,
    /// Its share of its weight, in 1/1024.
    pub ramp: u32,
}

impl State {
    /// The API's name (ngx_http_api_module, `state`).
    pub fn name(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Draining => "draining",
            State::Down => "down",
            State::Unavail => "unavail",
            State::Checking => "checking",
            State::Unhealthy => "unhealthy",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
