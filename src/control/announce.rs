//! Who must hear that a peer's state changed? The log, and attempts that wait for a peer that is gone.

use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::health::{Admission, State};
use crate::id::GroupId;
use crate::mailbox::Command;
use crate::telemetry;
use crate::topology::{Group, Live, PeerTransition};

/// Announces transitions that the control plane causes.
#[derive(Debug)]
pub struct Announcer {
    live: Arc<Live>,
    workers: Vec<UnboundedSender<Command>>,
    /// Groups whose applications all say no, and that this was said of.
    refused: Mutex<Vec<GroupId>>,
}

impl Announcer {
    /// Announces to these workers.
    pub fn new(live: Arc<Live>, workers: Vec<UnboundedSender<Command>>) -> Announcer {
        Announcer { live, workers, refused: Mutex::default() }
    }

    /// Tells every worker.
    pub fn tell_workers(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that is gone needs no command.
            let _ = worker.send(command());
        }
    }

    /// The workers, in order.
    pub fn workers(&self) -> &[UnboundedSender<Command>] {
        &self.workers
    }

    /// Announces one change of state.
    pub fn transition(&self, changed: &PeerTransition) {
        let PeerTransition { peer, transition } = changed;
        telemetry::transition::log(&peer.group.name, &peer.described(), transition);
        if transition.abandons_attempts() {
            self.tell_workers(|| Command::Abandon(peer.id));
        }
        if let Some(group) = self.live.load().group(peer.group.id) {
            self.say_if_all_refuse(group, transition.to);
        }
    }

    /// A health check that asks a shared dependency can turn a whole site off: that is said once, loudly.
    fn say_if_all_refuse(&self, group: &Group, entered: State) {
        // Only a list is kept under this lock.
        let mut refused = self.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Clock::process().now();
        let says_no = |admission| matches!(admission, Admission::SaysNo);
        let all = !group.is_empty() && group.seats().all(|seat| says_no(seat.peer.cell.admission(now)));
        let known = refused.contains(&group.id());
        if all && !known && entered == State::Unhealthy {
            refused.push(group.id());
            let then = if group.config.try_when_all_fail {
                "they are tried all the same (when_all_fail = \"last_resort\")"
            } else {
                "clients get 503 until one passes (when_all_fail = \"refuse\")"
            };
            tracing::error!(
                "{}: every application says by its health check that it is not well; if the check asks a shared \
                 dependency, that dependency is down; {then}",
                group.name()
            );
        } else if !all && known {
            refused.retain(|id| *id != group.id());
        }
    }
}
