//! How is this peer? One machine with three voices (operator, probes, traffic), joined into one state with one reason.
//! Pure: time is an argument, nothing is logged. The table of `docs/health.md` is the specification.

use std::time::Duration;

use crate::clock::Timestamp;

/// What a peer's health is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `max_fails`; 0: failures of traffic are not counted.
    pub max_fails: u32,
    /// `fail_timeout`: the window of failures, and the time a peer is left alone.
    pub fail_timeout: Duration,
    /// The thresholds of the active check, if there is one.
    pub check: Option<Thresholds>,
    /// `slow_start`; zero is off.
    pub slow_start: Duration,
}

/// Thresholds of the active check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that make a peer unhealthy.
    pub fails: u32,
    /// Passes in a row that make it healthy again.
    pub passes: u32,
}

/// The state of a peer, by the API's names (spec §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Gets ordinary traffic.
    Up,
    /// Set to drain, or gone from DNS or the file: only requests bound to it.
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
    /// Unavailable, its time has passed and its trial is free: one request that may be retried.
    Trial,
    /// Draining while the other voices allow: requests bound to it.
    Bound,
    /// Only when nobody else is left.
    LastResort,
    /// No probe has said anything yet: worth waiting for.
    Unprobed,
    /// Nothing.
    Refused,
}

/// When a peer may next change its mind by itself: for `Retry-After`.
pub type NextLook = Option<Timestamp>;
