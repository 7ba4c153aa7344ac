//! Looks at every peer that has a health check, at the pace that its state asks for. Runs on a thread of its own, so
//! that other work of weir's does not look like a peer's time-out.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until};

use super::announce::Announcer;
use crate::clock::{Clock, Timestamp};
use crate::config::model::HealthCheck;
use crate::health::Pace;
use crate::id::PeerId;
use crate::probe::Probe;
use crate::topology::{Live, Peer};

/// The pace of probes that somebody waits for.
const FAST: Duration = Duration::from_millis(250);
/// Probes of all peers together keep at least this distance: at most 1,000 a second.
const DISTANCE: Duration = Duration::from_millis(1);

/// Probes the peers of the snapshot.
pub struct Prober {
    live: Arc<Live>,
    announcer: Arc<Announcer>,
    /// When the next probe of anybody may begin.
    free: Rc<Cell<Timestamp>>,
    tasks: HashMap<PeerId, Task>,
}

struct Task {
    check: HealthCheck,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Prober {
    /// Probes the peers of `live`, and tells `announcer` what changes by it.
    pub fn new(live: Arc<Live>, announcer: Arc<Announcer>) -> Prober {
        Prober { live, announcer, free: Rc::default(), tasks: HashMap::new() }
    }

    /// Follows the snapshot.
    pub async fn run(mut self, mut version: watch::Receiver<u64>) {
        loop {
            self.follow();
            if version.changed().await.is_err() {
                return;
            }
        }
    }

    /// One task for each peer with a check; a changed check begins anew.
    fn follow(&mut self) {
        let topology = self.live.load();
        let mut due: HashMap<PeerId, (&HealthCheck, &Arc<Peer>)> = HashMap::new();
        for (group, peer) in topology.peers() {
            if let Some(check) = &group.config.health_check {
                due.insert(peer.id, (check, peer));
            }
        }
        self.tasks.retain(|id, task| due.get(id).is_some_and(|(check, _)| **check == task.check));
        // In the order of the configuration, which the map has lost.
        for (group, peer) in topology.peers() {
            let Some(check) = &group.config.health_check else { continue };
            if !self.tasks.contains_key(&peer.id) {
                let watch = Watch {
                    probe: Probe::new(check, &peer.text),
                    check: check.clone(),
                    peer: Arc::clone(peer),
                    announcer: Arc::clone(&self.announcer),
                    free: Rc::clone(&self.free),
                    clock: Clock::process(),
                };
                let handle = tokio::task::spawn_local(watch.run()).abort_handle();
                self.tasks.insert(peer.id, Task { check: check.clone(), handle });
            }
        }
    }
}

/// The probing of one peer.
struct Watch {
    probe: Probe,
    check: HealthCheck,
    peer: Arc<Peer>,
    announcer: Arc<Announcer>,
    free: Rc<Cell<Timestamp>>,
    clock: Clock,
}

impl Watch {
    async fn run(self) {
        let mut began: Option<Timestamp> = None;
        loop {
            let now = self.clock.now();
            let Some(at) = next(began, self.peer.cell.probe_pace(now), self.check.interval, now) else {
                // Down: nobody looks until that ends.
                sleep(FAST).await;
                continue;
            };
            let at = if began.is_some() { at + self.jitter() } else { at };
            self.peer.probe_scheduled(at);
            if at > now {
                sleep_until(self.clock.instant(at)).await;
            }
            self.wait_for_place().await;
            began = Some(self.look().await);
        }
    }

    /// One probe. Returns when it began.
    async fn look(&self) -> Timestamp {
        let began = self.clock.now();
        let look = self.probe.look(self.peer.addr).await;
        let lagged = look.lag * 2 >= self.check.timeout;
        let changed = self.peer.observe_probe(began, look.seen, lagged, self.clock.now());
        if let Some(changed) = changed {
            self.announcer.transition(&changed);
        }
        began
    }

    /// Keeps the distance between probes of all peers.
    async fn wait_for_place(&self) {
        let now = self.clock.now();
        let place = self.free.get().max(now);
        self.free.set(place + DISTANCE);
        if place > now {
            sleep_until(self.clock.instant(place)).await;
        }
    }

    fn jitter(&self) -> Duration {
        self.check.jitter.mul_f64(rand::random::<f64>())
    }
}

/// When to probe next: a pace after the last beginning, not before the last end (`now`); at once the first time.
fn next(began: Option<Timestamp>, pace: Pace, interval: Duration, now: Timestamp) -> Option<Timestamp> {
    let pace = match pace {
        Pace::Every250ms => FAST.min(interval),
        Pace::Interval => interval,
        Pace::None => return None,
    };
    Some(began.map_or(now, |began| (began + pace).max(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_follows_the_last_one_by_its_pace_but_never_overtakes_it() {
        let second = Duration::from_secs(5);
        let at = |began, pace, now| next(began, pace, second, Timestamp::millis(now)).map(Timestamp::as_millis);
        let began = |ms| Some(Timestamp::millis(ms));
        for (last, pace, now, expected) in [
            (None, Pace::Interval, 1_000, Some(1_000)),
            (began(1_000), Pace::Interval, 1_010, Some(6_000)),
            (began(1_000), Pace::Every250ms, 1_010, Some(1_250)),
            (began(1_000), Pace::Every250ms, 1_900, Some(1_900)),
            (began(1_000), Pace::None, 1_900, None),
        ] {
            assert_eq!(at(last, pace, now), expected, "{last:?} {pace:?} {now}");
        }
    }
}
