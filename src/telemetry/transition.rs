//! What does a change of a peer's state look like in the program log?

use std::fmt::Display;

/// Logs it, once, at info: who, from which state, to which, and why. Equal states are a new reason only (a peer that is
/// kept although its failures would eject it).
pub fn log(group: &str, peer: &str, from: &dyn Display, to: &dyn Display, reason: &dyn Display) {
    let (from, to) = (from.to_string(), to.to_string());
    if from == to {
        tracing::info!(target: "weir::health", "{group}: {peer} stays {to}: {reason}");
    } else {
        tracing::info!(target: "weir::health", "{group}: {peer} {from} → {to}: {reason}");
    }
}
