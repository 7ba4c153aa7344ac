//! What does a change of a peer's state look like in the program log?

use crate::health::Transition;

/// Logs it, once, at info: who, from which state, to which, and why. Equal states are a new reason only (a peer that is
/// kept although its failures would eject it).
pub fn log(group: &str, peer: &str, transition: &Transition) {
    let Transition { from, to, reason, .. } = transition;
    tracing::info!(target: "weir::health", "{group}: {peer} {from} → {to}: {reason}");
}
