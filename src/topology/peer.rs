//! What is known of one peer, whatever is reloaded around it?

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::PeerTransition;
use super::group::GroupState;
use super::watch::Watch;
use crate::balancer::Latency;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::health::outlier::Finding;
use crate::health::{Admission, Cell, Command, Detail, LeaseFacts, Outcome, Seen, Signal, State, Transition};
use crate::id::PeerId;

/// One address of one `server`. Its identity never changes; its parameters (weight, max_conns, …) are the snapshot's:
/// see [`Seat`](super::Seat).
#[derive(Debug)]
pub struct Peer {
    /// Told apart from every other peer of this process.
    pub id: PeerId,
    /// What its group keeps across snapshots.
    pub group: Arc<GroupState>,
    /// The `server` as written.
    pub text: Arc<str>,
    /// `ip:port` or `unix:/path`: `$upstream_addr`.
    pub name: Arc<str>,
    /// Where it is.
    pub addr: Endpoint,
    /// The name it was found by; `None` for a literal address.
    pub host: Option<Arc<str>>,
    /// How many servers of its group before it have the same text and address.
    pub ordinal: u32,
    /// How it is.
    pub cell: Cell,
    /// How fast it is.
    pub latency: Latency,
    /// What it has done so far.
    pub tally: Tally,
    load: Load,
    pub(super) watch: Watch,
    next_probe: AtomicU64,
    /// What its own network calls it, once that is known.
    replica: ArcSwapOption<Arc<str>>,
    /// It left the configuration, or its name's addresses.
    gone: AtomicBool,
    /// That is known: most peers are asked for it with each request, and few have one.
    is_replica: AtomicBool,
    /// Woken when somebody waits for a look at it.
    look: Notify,
}

/// What changes with every request, on cache lines of its own: what a pick only reads must not move with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load {
    in_flight: AtomicU32,
    last_attempt: AtomicU64,
}

/// What a peer has done since it exists, for views. All are totals.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    /// Attempts that were sent to it, or tried to be.
    pub requests: AtomicU64,
    /// Answers by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub responses: [AtomicU64; 5],
    /// Attempts that failed.
    pub fails: AtomicU64,
    /// How often traffic made it unavailable.
    pub unavail: AtomicU64,
    /// Probes.
    pub checks: AtomicU64,
    /// Probes that did not pass.
    pub check_fails: AtomicU64,
    /// How often probes made it unhealthy.
    pub unhealthy: AtomicU64,
    /// Microseconds in unavail, checking and unhealthy, up to the latest change of state.
    pub downtime: AtomicU64,
    /// When the state changed last, in microseconds.
    changed: AtomicU64,
}

/// Who a peer is: what a new snapshot takes it over by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub text: Arc<str>,
    pub addr: Endpoint,
    pub ordinal: u32,
}

impl Peer {
    pub(super) fn new(identity: Identity, host: Option<Arc<str>>, group: Arc<GroupState>, cell: Cell) -> Peer {
        let Identity { text, addr, ordinal } = identity;
        let began = cell.verdict(Timestamp::ZERO).since.as_micros();
        let tally = Tally { changed: AtomicU64::new(began), ..Tally::default() };
        Peer {
            id: PeerId::fresh(),
            group,
            name: name_of(&addr, &text),
            text,
            addr,
            host,
            ordinal,
            cell,
            latency: Latency::default(),
            tally,
            load: Load::default(),
            watch: Watch::default(),
            next_probe: AtomicU64::new(0),
            replica: ArcSwapOption::empty(),
            gone: AtomicBool::new(false),
            is_replica: AtomicBool::new(false),
            look: Notify::new(),
        }
    }

    /// Requests it is processing, over all workers: from the pick to the last byte of the body.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight.load(SeqCst)
    }

    /// Whether it left the configuration, or the addresses of its name: what it has is finished, and nothing begins.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// What people call it: the replica's own name where reverse DNS tells it, else the `server` as written. Several
    /// peers may share it.
    pub fn called(&self) -> Arc<str> {
        self.replica().unwrap_or_else(|| self.text.clone())
    }

    /// The replica's own name (`pyfla_app_2`), where reverse DNS tells it.
    pub fn replica(&self) -> Option<Arc<str>> {
        self.is_replica.load(Relaxed).then(|| self.replica.load().as_deref().cloned()).flatten()
    }

    /// Reverse DNS told its own name. Only people read it: identity stays by address.
    pub fn set_replica(&self, name: Arc<str>) {
        self.replica.store(Some(Arc::new(name)));
        self.is_replica.store(true, Relaxed);
    }

    /// For a line of the log: what it is called, with its address where that does not say it.
    pub fn described(&self) -> String {
        let called = self.called();
        if self.host.is_none() { called.to_string() } else { format!("{called} ({})", self.name) }
    }

    /// Waits until somebody waits for a look at it: it was up, and is `checking` again.
    pub async fn look_wanted(&self) {
        self.look.notified().await;
    }

    /// When it was picked last; `None`: never.
    pub fn last_attempt(&self) -> Option<Timestamp> {
        Some(Timestamp::micros(self.load.last_attempt.load(Relaxed))).filter(|at| *at != Timestamp::ZERO)
    }

    /// A probe ended. `lagged`: weir itself was late by half the probe's limit or more.
    pub fn observe_probe(
        self: &Arc<Peer>,
        began: Timestamp,
        seen: Seen,
        lagged: bool,
        now: Timestamp,
    ) -> Option<PeerTransition> {
        self.tally.checks.fetch_add(1, Relaxed);
        if seen != Seen::Pass {
            self.tally.check_fails.fetch_add(1, Relaxed);
        }
        self.tell(Signal::Probe { began, seen, lagged }, now)
    }

    /// What its requests came to since `from` was compared with its peers.
    pub fn observe_comparison(
        self: &Arc<Peer>,
        from: Timestamp,
        found: Option<Finding>,
        now: Timestamp,
    ) -> Option<PeerTransition> {
        self.tell(Signal::Compared { from, found }, now)
    }

    /// Its answers take longer than those of its peers: if it ramps up, that is held back.
    pub fn hold_ramp(self: &Arc<Peer>, now: Timestamp) {
        // No change of state follows from it.
        let _ = self.tell(Signal::Lags, now);
    }

    /// The operator, or the file, changes what this peer is for.
    pub fn set_operator(self: &Arc<Peer>, command: Command, now: Timestamp) -> Option<PeerTransition> {
        self.tell(Signal::Operator(command), now)
    }

    /// Another process knows that requests fail here: as if `times` of them had failed now.
    pub fn observe_failures(self: &Arc<Peer>, times: u32, why: Detail, now: Timestamp) -> Option<PeerTransition> {
        let lease = LeaseFacts { began: now, ..LeaseFacts::default() };
        let failure = || Signal::Outcome { lease, outcome: Outcome::Hard(why.clone()) };
        (0..times).find_map(|_| self.tell(failure(), now))
    }

    /// The prober says when it will look next: for `Retry-After`.
    pub fn probe_scheduled(&self, at: Timestamp) {
        self.next_probe.store(at.as_micros(), Relaxed);
    }

    /// The earliest time at which a probe or a trial may change what requests get here; `None`: nobody knows.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let probe = Some(Timestamp::micros(self.next_probe.load(Relaxed))).filter(|at| *at != Timestamp::ZERO);
        self.cell.next_change(now).into_iter().chain(probe).min()
    }

    /// The name that its certificate must have, unless the upstream says another: the one it was found by, else its
    /// address.
    pub fn tls_name(&self) -> Cow<'_, str> {
        match &self.host {
            Some(host) => Cow::Borrowed(host),
            // A unix socket is of this machine.
            None => self.addr.ip().map_or(Cow::Borrowed("localhost"), |ip| Cow::Owned(ip.to_string())),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { text: self.text.clone(), addr: self.addr.clone(), ordinal: self.ordinal }
    }

    /// [`observe`](Peer::observe), with whose transition it was.
    pub(super) fn tell(self: &Arc<Peer>, signal: Signal, now: Timestamp) -> Option<PeerTransition> {
        self.observe(signal, now).map(|transition| PeerTransition { peer: self.clone(), transition })
    }

    /// The one way to the cell: whatever a signal changes, the balancer, the trials' clock and whoever waits hear of it.
    pub(super) fn observe(&self, signal: Signal, now: Timestamp) -> Option<Transition> {
        let routine = matches!(
            &signal,
            Signal::Outcome { lease: LeaseFacts { trial: false, last_resort: false, .. }, outcome: Outcome::Success }
        );
        let probe = matches!(&signal, Signal::Probe { .. });
        match &signal {
            Signal::Gone => self.gone.store(true, Relaxed),
            Signal::Present => self.gone.store(false, Relaxed),
            _ => {}
        }
        let transition = self.cell.observe(signal, now);
        if routine && transition.is_none() {
            return None;
        }
        if self.cell.admission(now) != Admission::Ordinary
            && let Some(due) = self.cell.verdict(now).trial_due
        {
            self.group.trial_due(due);
        }
        if let Some(transition) = &transition {
            self.count(transition);
            if transition.to == State::Checking {
                self.look.notify_one();
            }
            self.group.availability_changed(self.id, now);
        }
        if transition.is_some() || probe {
            self.group.wake();
        }
        transition
    }

    /// Takes a slot, unless `max_conns` (0: unlimited) are taken. The check and the taking are one, whatever other
    /// workers do meanwhile.
    pub(super) fn take_slot(&self, max_conns: u32) -> bool {
        let in_flight = &self.load.in_flight;
        let taken = if max_conns == 0 {
            in_flight.fetch_add(1, SeqCst);
            true
        } else {
            in_flight.fetch_update(SeqCst, SeqCst, |taken| (taken < max_conns).then(|| taken + 1)).is_ok()
        };
        if taken {
            self.watch.use_changed(&self.latency, &|| self.in_flight());
        }
        taken
    }

    /// Frees a slot, which wakes whoever is first in the line, if there is one.
    pub(super) fn free_slot(&self) {
        // SeqCst: see `Queue::waiting`.
        self.load.in_flight.fetch_sub(1, SeqCst);
        self.watch.use_changed(&self.latency, &|| self.in_flight());
        self.group.queue.room();
    }

    /// The head of an answer came, and its time is in the averages.
    pub(super) fn head_came(&self) {
        self.watch.head_came(&self.latency, &|| self.in_flight());
    }

    pub(super) fn has_room(&self, max_conns: u32) -> bool {
        max_conns == 0 || self.in_flight() < max_conns
    }

    /// An attempt begins: what the last resort goes by.
    pub(super) fn stamp(&self, at: Timestamp) {
        self.load.last_attempt.store(at.as_micros(), Relaxed);
    }

    fn count(&self, transition: &Transition) {
        if transition.from == transition.to {
            return;
        }
        let began = self.tally.changed.swap(transition.at.as_micros(), Relaxed);
        if matches!(transition.from, State::Unavail | State::Checking | State::Unhealthy) {
            self.tally.downtime.fetch_add(transition.at.as_micros().saturating_sub(began), Relaxed);
        }
        match transition.to {
            State::Unavail => self.tally.unavail.fetch_add(1, Relaxed),
            State::Unhealthy => self.tally.unhealthy.fetch_add(1, Relaxed),
            _ => 0,
        };
    }
}

impl Tally {
    /// Begins to count anew: `DELETE` of an upstream's statistics.
    pub fn reset(&self) {
        let Tally { requests, responses, fails, unavail, checks, check_fails, unhealthy, downtime, changed: _ } = self;
        let single = [requests, fails, unavail, checks, check_fails, unhealthy, downtime];
        single.into_iter().chain(responses).for_each(|count| count.store(0, Relaxed));
    }

    /// An answer's head came.
    pub fn response(&self, status: u16) {
        if let Some(class) = self.responses.get(usize::from(status / 100).wrapping_sub(1)) {
            class.fetch_add(1, Relaxed);
        }
    }
}

/// An address as text: the server's own, where that is written the same.
fn name_of(addr: &Endpoint, text: &Arc<str>) -> Arc<str> {
    let is_same = match addr {
        // A port may be written with zeros before it, and nothing else of an IPv4 address in two ways.
        Endpoint::Ip(SocketAddr::V4(addr)) => text.parse() == Ok(*addr) && !text.contains(":0"),
        _ => false,
    };
    if is_same { text.clone() } else { addr.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_address_as_name_however_the_server_is_written() {
        let table = [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.1", "10.0.0.1:80"),
            ("10.0.0.1:080", "10.0.0.1:80"),
            ("app:80", "10.0.0.1:80"),
            ("10.0.0.2:80", "10.0.0.1:80"),
            ("[0::1]:80", "[::1]:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ];
        for (text, name) in table {
            let addr: Endpoint = name.parse().expect("an address");
            assert_eq!(&*name_of(&addr, &text.into()), name, "{text}");
        }
    }

    #[test]
    fn a_server_that_is_written_as_its_address_is_in_memory_once() {
        let text: Arc<str> = "10.0.0.1:80".into();
        assert!(Arc::ptr_eq(&name_of(&Endpoint::Ip(text.parse().expect("an address")), &text), &text));
    }
}
