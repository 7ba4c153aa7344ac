//! Looks at every peer that has a health check, at the pace that its state asks for. Runs on a thread of its own, so
//! that other work of weir's does not look like a peer's time-out.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::announce::Announcer;
use crate::clock::{Clock, Timestamp};
use crate::config::model::{BodyTest, CheckKind, Expect, HealthCheck, Upstream};
use crate::endpoint::Endpoint;
use crate::health::{Admission, Pace, Seen, State};
use crate::id::PeerId;
use crate::probe::{Look, Probe, Tls};
use crate::proxy_protocol::Version;
use crate::tls::Connector;
use crate::topology::{Live, Peer};

/// The pace of probes that somebody waits for.
const FAST: Duration = Duration::from_millis(250);
/// A peer without a check is looked at when somebody waits for that, which is told.
const IDLE: Duration = Duration::from_secs(3_600);
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
    wire: Wire,
    warmup: Vec<String>,
    handle: AbortHandle,
}

/// What lies between a connection and the question.
#[derive(Clone, PartialEq)]
struct Wire {
    proxy_protocol: Option<Version>,
    tls: Option<Arc<Connector>>,
}

impl Wire {
    fn of(group: &Upstream) -> Wire {
        Wire { proxy_protocol: group.proxy_protocol, tls: group.tls.clone() }
    }

    /// A question put to `peer` over it.
    fn probe(&self, check: &HealthCheck, peer: &Peer) -> Probe {
        let mut probe = Probe::new(check, host_of(peer));
        if let Some(version) = self.proxy_protocol {
            probe = probe.with_proxy_protocol(version);
        }
        if let Some(connector) = self.tls.clone() {
            probe = probe.over_tls(&Tls { connector, name: peer.tls_name().into_owned() });
        }
        probe
    }
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
        let connect = connect_check();
        let mut due: HashMap<PeerId, (&HealthCheck, Wire, &[String])> = HashMap::new();
        for (group, peer) in topology.peers() {
            // Without a check, only an address that may have moved is ever looked at.
            let check = group.config.health_check.as_ref().or(peer.host.is_some().then_some(&connect));
            due.extend(check.map(|check| (peer.id, (check, Wire::of(&group.config), &*group.config.warmup))));
        }
        self.tasks.retain(|id, task| {
            let same = |(check, wire, warmup): &(&HealthCheck, Wire, &[String])| {
                **check == task.check && *wire == task.wire && *warmup == task.warmup
            };
            due.get(id).is_some_and(same)
        });
        // In the order of the configuration, which the map has lost.
        for (group, peer) in topology.peers() {
            let Some((check, wire, warmup)) = due.get(&peer.id) else { continue };
            let (check, wire, warmup) = (*check, wire.clone(), warmup.to_vec());
            if !self.tasks.contains_key(&peer.id) {
                let watch = Watch {
                    probe: wire.probe(check, peer),
                    warmup: warmup.iter().map(|target| wire.probe(&request(target, check), peer)).collect(),
                    warmed: Cell::new(false),
                    live: Arc::clone(&self.live),
                    check: check.clone(),
                    peer: Arc::clone(peer),
                    announcer: Arc::clone(&self.announcer),
                    free: Rc::clone(&self.free),
                    clock: Clock::process(),
                    unchecked: group.config.health_check.is_none(),
                };
                let handle = tokio::task::spawn_local(watch.run()).abort_handle();
                self.tasks.insert(peer.id, Task { check: check.clone(), wire, warmup, handle });
            }
        }
    }
}

/// What a probe asks for unless the check has its own `host`: the server as written; of a unix socket `localhost`, as in
/// nginx.
fn host_of(peer: &Peer) -> &str {
    match peer.addr {
        Endpoint::Ip(_) => &peer.text,
        Endpoint::Unix(_) => "localhost",
    }
}

/// How a peer without a check is looked at after a connect failed at an address that may have moved: whether somebody
/// accepts a connection there.
fn connect_check() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(5),
        jitter: Duration::ZERO,
        timeout: Duration::from_secs(1),
        fails: 1,
        passes: 1,
        port: None,
    }
}

/// A request of `warmup`: any answer will do, which is read.
fn request(target: &str, check: &HealthCheck) -> HealthCheck {
    let host = match &check.kind {
        CheckKind::Http { host, .. } => host.clone(),
        CheckKind::Tcp | CheckKind::Grpc { .. } => None,
    };
    let body = regex::bytes::Regex::new("").ok().map(|pattern| BodyTest { negated: false, pattern });
    let expect = Expect { status: None, headers: Vec::new(), body, json: Vec::new() };
    let kind = CheckKind::Http { uri: target.to_owned(), host, expect };
    HealthCheck { kind, timeout: WARMUP, port: None, ..check.clone() }
}

/// How long one request of `warmup` may take.
const WARMUP: Duration = Duration::from_secs(10);

/// The probing of one peer.
struct Watch {
    probe: Probe,
    /// What it is asked before it is admitted.
    warmup: Vec<Probe>,
    /// That was done since it was up last.
    warmed: Cell<bool>,
    live: Arc<Live>,
    check: HealthCheck,
    peer: Arc<Peer>,
    announcer: Arc<Announcer>,
    free: Rc<Cell<Timestamp>>,
    clock: Clock,
    /// No check is configured.
    unchecked: bool,
}

impl Watch {
    async fn run(self) {
        let mut began: Option<Timestamp> = None;
        loop {
            let now = self.clock.now();
            let Some(at) = next(began, self.peer.cell.probe_pace(now), self.check.interval, now) else {
                // Down: nobody looks until that ends. Or there is no check, and nothing to find out.
                let idle = if self.unchecked { IDLE } else { FAST };
                self.pause(now + idle).await;
                continue;
            };
            let at = if began.is_some() { at + self.jitter() } else { at };
            self.peer.probe_scheduled(at);
            if at > now && self.pause(at).await {
                continue;
            }
            self.wait_for_place().await;
            began = Some(self.look().await);
        }
    }

    /// Waits until then; `true`: not that long, since somebody waits for a look.
    async fn pause(&self, until: Timestamp) -> bool {
        tokio::select! {
            () = sleep_until(self.clock.instant(until)) => false,
            () = self.peer.look_wanted() => true,
        }
    }

    /// One probe. Returns when it began.
    async fn look(&self) -> Timestamp {
        let began = self.clock.now();
        let look = self.ask(&self.probe).await;
        let lagged = look.lag * 2 >= self.check.timeout;
        if look.seen == Seen::Pass && !self.warmup.is_empty() {
            self.warm_up().await;
        }
        let changed = self.peer.observe_probe(began, look.seen, lagged, self.clock.now());
        if let Some(changed) = changed {
            if changed.transition.to == State::Up {
                self.warmed.set(false);
            }
            self.announcer.transition(&changed);
        }
        began
    }

    async fn ask(&self, probe: &Probe) -> Look {
        match &self.peer.addr {
            Endpoint::Ip(address) => probe.look(*address).await,
            Endpoint::Unix(path) => probe.look_at_unix(path).await,
        }
    }

    /// Before the pass is told that may admit it: once after each time that it was out. What comes back says nothing of
    /// its health.
    async fn warm_up(&self) {
        let began = self.clock.now();
        match self.peer.cell.verdict(began).state {
            State::Checking | State::Unhealthy if !self.warmed.get() => {}
            State::Up => return self.warmed.set(false),
            _ => return,
        }
        let (mut asked, mut failed) = (0, None);
        for probe in &self.warmup {
            // Nobody may have to wait for that.
            if !self.others_serve() {
                break;
            }
            asked += 1;
            if let Seen::Unreachable { detail } | Seen::TimedOut { detail } = self.ask(probe).await.seen {
                failed = Some(detail);
            }
        }
        if asked == 0 {
            return;
        }
        self.warmed.set(true);
        let (group, peer) = (&self.peer.group.name, self.peer.described());
        let took = self.clock.now().since(began);
        match failed {
            None => tracing::info!("{group}: {peer} is warmed up: {asked} requests in {took:.1?}"),
            Some(detail) => {
                tracing::warn!(
                    "{group}: {peer} is warmed up as far as it goes: {asked} requests in {took:.1?}, the latest to fail: {detail}"
                );
            }
        }
    }

    /// Whether another peer of its group is up.
    fn others_serve(&self) -> bool {
        let (topology, now) = (self.live.load(), self.clock.now());
        let serves = |peer: &Peer| peer.id != self.peer.id && peer.cell.admission(now) == Admission::Ordinary;
        topology.group(self.peer.group.id).is_some_and(|group| group.seats().any(|seat| serves(&seat.peer)))
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
