//! The only writer of the snapshot: every cause of change queues here, so nothing races.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::announce::Announcer;
use super::parting::Parting;
use super::remember;
use super::secrets;
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::config::model::Listen;
use crate::endpoint::{Endpoint, Place};
use crate::id::PeerId;
use crate::mailbox::Command;
use crate::net::datagrams::{self, Datagrams};
use crate::net::listener::{self, Listeners};
use crate::net::{Held, Inherited};
use crate::state::StateFile;
use crate::topology::{Added, Adjustment, Adjustments, Applied, Change, Live, Override, Topology};

/// A change somebody asks for, and who wants to know how it went.
#[derive(Debug)]
pub struct Request {
    /// What is to change.
    pub change: Change,
    /// Told when it is in force, or why it is refused.
    pub done: Option<oneshot::Sender<Result<Applied, String>>>,
}

/// Applies changes one after the other.
pub struct Publisher {
    live: Arc<Live>,
    announcer: Arc<Announcer>,
    /// The sockets that the workers accept from.
    held: Rc<Held>,
    /// What is listened on: the real address of each configured one (port 0 becomes a port).
    listening: BTreeMap<Endpoint, Endpoint>,
    /// Where datagrams are taken, likewise.
    datagrams: BTreeMap<SocketAddr, SocketAddr>,
    /// End when the workers have closed sockets that a reload removed.
    closing: Vec<mpsc::Receiver<Infallible>>,
    /// What a reload removed, and connections may still lead to.
    parting: Parting,
    version: watch::Sender<u64>,
    /// Where what operators have changed outlives the process.
    state: Option<Arc<Mutex<StateFile>>>,
    /// What of it is written.
    kept: Option<Adjustments>,
}

/// Binds all listeners of a configuration, but for those that are there already.
///
/// # Errors
/// The first address that cannot be had, with what to do about it.
pub fn bind_all<'a>(
    addresses: impl IntoIterator<Item = &'a Listen>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<(Endpoint, Listeners)>, String> {
    let bind = |Listen { address, mode, .. }: &Listen| {
        let bound = match inherited.take(&Place::Connections(address.clone())) {
            Some(lot) => listener::adopt(lot, workers),
            None => listener::bind(address, *mode, workers),
        };
        bound.map(|listeners| (address.clone(), listeners)).map_err(|error| explain(address, &error))
    };
    addresses.into_iter().map(bind).collect()
}

/// Binds the addresses of a configuration that take datagrams, but for those that are there already.
///
/// # Errors
/// The first address that cannot be had, with what to do about it.
pub fn bind_datagrams(
    addresses: impl IntoIterator<Item = SocketAddr>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<(SocketAddr, Datagrams)>, String> {
    let bind = |address: SocketAddr| {
        let bound = match inherited.take(&Place::Datagrams(address)) {
            Some(lot) => datagrams::adopt(lot, workers),
            None => datagrams::bind(address, workers),
        };
        bound.map(|datagrams| (address, datagrams)).map_err(|error| explain(&address.into(), &error))
    };
    addresses.into_iter().map(bind).collect()
}

fn explain(address: &Endpoint, error: &io::Error) -> String {
    let Some(port) = address.port() else { return explain_unix(address, error) };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("cannot listen on {address}: port {port} is in use by another program; stop it, or change `listen`")
        }
        io::ErrorKind::PermissionDenied => format!(
            "cannot listen on {address}: no permission for port {port}; use a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "cannot listen on {address}: this machine has no such address; use 0.0.0.0:{port} for all of its addresses"
            )
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

fn explain_unix(address: &Endpoint, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("cannot listen on {address}: another program answers there; stop it, or change `listen`")
        }
        io::ErrorKind::AlreadyExists => {
            format!("cannot listen on {address}: a file is there that is no socket; remove it, or change `listen`")
        }
        io::ErrorKind::NotFound => {
            format!("cannot listen on {address}: its folder is missing; make it, or change `listen`")
        }
        io::ErrorKind::PermissionDenied => {
            format!("cannot listen on {address}: no permission; let this user write to its folder, or change `listen`")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// How a listener is named in the log: by what is spoken there.
fn shown(topology: &Topology, configured: &Endpoint, real: &Endpoint) -> String {
    match real {
        Endpoint::Ip(address) if topology.stream(configured).is_some_and(|stream| stream.acceptor.is_some()) => {
            format!("tls://{address}")
        }
        Endpoint::Ip(address) if topology.stream(configured).is_some() => format!("tcp://{address}"),
        Endpoint::Ip(address) if is_secure(topology, configured) => format!("https://{address}"),
        Endpoint::Ip(address) => format!("http://{address}"),
        Endpoint::Unix(_) => real.to_string(),
    }
}

fn is_secure(topology: &Topology, configured: &Endpoint) -> bool {
    topology.listener(configured).is_some_and(|listener| listener.hosts.is_tls())
}

impl Publisher {
    /// A publisher of `live`. Its sockets are `held`. `version` counts snapshots, for those who follow them.
    pub fn new(live: Arc<Live>, announcer: Arc<Announcer>, held: Rc<Held>, version: watch::Sender<u64>) -> Publisher {
        let (listening, datagrams) = (BTreeMap::new(), BTreeMap::new());
        let parting = Parting::new(Arc::clone(live.load().config()));
        let closing = Vec::new();
        Publisher { live, announcer, held, listening, datagrams, closing, parting, version, state: None, kept: None }
    }

    /// Puts in force what an earlier process kept in this file, and keeps it up to date from now on.
    pub fn remember(&mut self, state: Arc<Mutex<StateFile>>) {
        let moment = Moment::present();
        let kept = lock(&state).section(remember::SECTION).map(|section| remember::read(section, moment));
        let (steps, said) = kept.unwrap_or_default();
        said.iter().for_each(|said| tracing::warn!("{said}"));
        self.state = Some(state);
        // Nothing that operators change can be refused here.
        let _ = self.apply(Change::Adjust(steps));
    }

    /// Keeps what operators have changed in this file from now on, whatever it says.
    pub fn record(&mut self, state: Arc<Mutex<StateFile>>) {
        self.state = Some(state);
        self.keep();
    }

    /// Puts in force what operators had changed in another process, in place of what they have changed here.
    pub fn inherit(&mut self, section: &serde_json::Value) {
        let (steps, said) = remember::read(section, Moment::present());
        said.iter().for_each(|said| tracing::warn!("{said}"));
        let topology = self.live.load();
        let now = topology.adjustments();
        let lift = |over: &Override| Adjustment::Lift { target: over.target.clone(), kind: over.setting.kind() };
        let remove =
            |added: &Added| Adjustment::Remove { group: added.group.clone(), server: added.server.text.clone() };
        let away = now.overrides.iter().map(lift).chain(now.added.iter().map(remove));
        let steps: Vec<Adjustment> = away.chain(steps).collect();
        if !steps.is_empty() {
            // Nothing that operators change can be refused here.
            let _ = self.apply(Change::Adjust(steps));
        }
    }

    /// Hands sockets to the workers, and says so.
    pub fn listen(&mut self, bound: Vec<(Endpoint, Listeners)>) {
        for (configured, listeners) in bound {
            let Listeners { address, sockets, holding } = listeners;
            for (worker, socket) in sockets {
                // A worker that is gone accepts nothing.
                let worker = self.announcer.workers().get(worker);
                let _ = worker.map(|worker| worker.send(Command::Listen(socket, configured.clone())));
            }
            tracing::info!("listening on {}", shown(&self.live.load(), &configured, &address));
            self.held.hold(Place::Connections(configured.clone()), holding);
            self.listening.insert(configured, address);
        }
    }

    /// Hands sockets for datagrams to the workers, and says so.
    pub fn listen_datagrams(&mut self, bound: Vec<(SocketAddr, Datagrams)>) {
        for (configured, datagrams) in bound {
            self.datagrams.insert(configured, datagrams.address);
            for (worker, socket) in datagrams.sockets {
                // A worker that is gone takes nothing.
                let worker = self.announcer.workers().get(worker);
                let _ = worker.map(|worker| worker.send(Command::ListenDatagrams(socket, configured)));
            }
            self.held.hold(Place::Datagrams(configured), datagrams.holding);
            tracing::info!("listening on udp://{}", datagrams.address);
        }
    }

    /// Applies changes as they come, and lets time pass for peers that wait for it. May be left off at any time, and
    /// taken up again.
    pub async fn run(&mut self, requests: &mut mpsc::UnboundedReceiver<Request>) {
        let clock = Clock::process();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request { change, done }) => {
                        if matches!(change, Change::Config(_)) {
                            self.closed().await;
                        }
                        let result = self.apply(change);
                        if let Some(done) = done {
                            // Whoever asked may have left.
                            let _ = done.send(result);
                        }
                    }
                    None => return,
                },
                _ = tick.tick() => {
                    let transitions = self.live.load().tick(clock.now());
                    transitions.iter().for_each(|changed| self.announcer.transition(changed));
                    self.end_overrides();
                    self.end_parting();
                }
            }
        }
    }

    /// Waits until the workers have closed what they were told to: an address that comes back at once would else be in
    /// use, by weir itself.
    async fn closed(&mut self) {
        for mut closed in self.closing.drain(..) {
            // Never sent to; a worker that does not come to it has a port that cannot be bound, which is said then.
            let _ = tokio::time::timeout(CLOSING, closed.recv()).await;
        }
    }

    /// Ends the overrides whose time has come.
    fn end_overrides(&mut self) {
        let due = self.live.load().adjustments().next_end().is_some_and(|at| at <= Clock::process().now());
        if due {
            // Time cannot be refused.
            let _ = self.apply(Change::Adjust(Vec::new()));
        }
    }

    /// Lets go of upstreams that were kept for a while.
    fn end_parting(&mut self) {
        if self.parting.next_end().is_some_and(|at| at <= Clock::process().now()) {
            // All that it listens on is listened on already: that cannot be refused.
            let _ = self.apply(Change::Config(Arc::clone(self.parting.file())));
        }
    }

    /// Puts a change in force. Refused, it changes nothing.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn apply(&mut self, change: Change) -> Result<Applied, String> {
        let now = Clock::process().now();
        let before = self.live.load();
        let (change, parting) = match change {
            Change::Config(file) => {
                let parting = self.parting.after(file, now);
                (Change::Config(parting.config()), Some(parting))
            }
            change => (change, None),
        };
        let (bound, datagrams) = match &change {
            Change::Config(config) => {
                for name in needs_restart(before.config(), config) {
                    tracing::warn!("`{name}` has changed: that takes effect at the next start of weir");
                }
                let new = addresses(config).into_iter().filter(|listen| !self.listening.contains_key(&listen.address));
                let new_datagrams = datagram_addresses(config);
                let new_datagrams = new_datagrams.into_iter().filter(|address| !self.datagrams.contains_key(address));
                let workers = self.announcer.workers().len();
                let none = &mut Inherited::default();
                (bind_all(new, workers, none)?, bind_datagrams(new_datagrams, workers, none)?)
            }
            Change::Resolved { .. } | Change::Located { .. } | Change::Discovered { .. } => (Vec::new(), Vec::new()),
            Change::Adjust(steps) => {
                steps.iter().for_each(say);
                (Vec::new(), Vec::new())
            }
        };
        let (next, mut applied) = before.apply(change, now);
        if let Some(parting) = parting {
            applied.groups_removed.extend(parting.begun(&self.parting));
            self.parting = parting;
        }
        let kept: Vec<Endpoint> = addresses(next.config()).into_iter().map(|listen| listen.address.clone()).collect();
        let kept_datagrams = datagram_addresses(next.config());
        let transitions = self.live.publish(next, &applied, now);
        self.version.send_modify(|version| *version += 1);
        self.listen(bound);
        self.listen_datagrams(datagrams);
        let gone: Vec<Endpoint> = self.listening.keys().filter(|address| !kept.contains(address)).cloned().collect();
        for address in gone {
            // First the duplicates: the worker that closes the last descriptor has taken what had connected.
            self.held.release(&Place::Connections(address.clone()));
            let last = before.service(&address);
            let (pending, closed) = mpsc::channel(1);
            self.announcer.tell_workers(|| Command::Unlisten(address.clone(), last.clone(), pending.clone()));
            self.closing.push(closed);
            if let Some(real) = self.listening.remove(&address) {
                tracing::info!("no longer listening on {}", shown(&before, &address, &real));
            }
        }
        self.datagrams.retain(|configured, real| {
            let keep = kept_datagrams.contains(configured);
            if !keep {
                self.held.release(&Place::Datagrams(*configured));
                self.announcer.tell_workers(|| Command::UnlistenDatagrams(*configured));
                tracing::info!("no longer listening on udp://{real}");
            }
            keep
        });
        if !applied.peers_removed.is_empty() {
            let gone: Arc<[PeerId]> = applied.peers_removed.iter().map(|peer| peer.id).collect();
            self.announcer.tell_workers(|| Command::Forget(Arc::clone(&gone)));
        }
        secrets::tell_of_made_up(Some(before.config()), self.live.load().config());
        self.set_modes(self.live.load().config());
        transitions.iter().for_each(|changed| self.announcer.transition(changed));
        applied.ended.iter().for_each(|ended| tracing::info!("{ended}"));
        self.keep();
        Ok(applied)
    }

    /// Writes down what operators have changed, if it is not there yet.
    fn keep(&mut self) {
        let Some(state) = self.state.clone() else { return };
        let mut state = lock(&state);
        let topology = self.live.load();
        let nothing = topology.adjustments().is_empty() && state.section(remember::SECTION).is_none();
        if nothing || self.kept.as_ref() == Some(topology.adjustments()) {
            return;
        }
        if let Err(error) = state.put(remember::SECTION, remember::written(topology.adjustments(), Moment::present())) {
            let path = state.path().display();
            tracing::warn!("{path}: cannot write what operators have changed, which a restart will forget: {error}");
        }
        drop(state);
        self.kept = Some(topology.adjustments().clone());
    }
}

/// The workers may have their sockets still: they close them when they are told to.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.listening.keys().for_each(|address| self.held.release(&Place::Connections(address.clone())));
        self.datagrams.keys().for_each(|address| self.held.release(&Place::Datagrams(*address)));
    }
}

fn lock(state: &Mutex<StateFile>) -> std::sync::MutexGuard<'_, StateFile> {
    // Its sections are replaced whole.
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One line for each step of an operator.
fn say(step: &Adjustment) {
    match step {
        Adjustment::Set(over) => match over.until {
            Some(until) => {
                let left = Duration::from_secs(until.since(over.since).as_secs());
                tracing::info!("{}: for {left:?}: {over}", over.target);
            }
            None => tracing::info!("{}: {over}", over.target),
        },
        Adjustment::Lift { target, kind } => tracing::info!("{target}: the file decides on {kind} again"),
        Adjustment::Add(added) => tracing::info!("{}/{}: added by {}", added.group, added.server.text, added.by),
        Adjustment::Remove { group, server } => tracing::info!("{group}/{server}: removed"),
    }
}

impl Publisher {
    /// Sockets whose file stays may have got another mode.
    pub fn set_modes(&self, config: &Config) {
        for Listen { address, mode, .. } in addresses(config) {
            if let Err(error) = self.held.set_mode(&Place::Connections(address.clone()), *mode) {
                tracing::warn!("cannot set the mode of {address}: {error}");
            }
        }
    }
}

/// How long workers may take to close sockets. They have a thread each, which is busy for milliseconds.
const CLOSING: Duration = Duration::from_secs(2);

/// How often peers that wait for time are looked at: an override that expires, a "kept" that ends.
const TICK: Duration = Duration::from_secs(1);

/// The addresses a configuration listens on, each once, with what belongs to the address and not to a server.
pub fn addresses(config: &Config) -> Vec<&Listen> {
    let mut addresses: Vec<&Listen> = Vec::new();
    let of_servers = config.servers.iter().flat_map(|server| &server.listen);
    let of_streams = config.streams.iter().flat_map(|stream| &stream.listen).filter(|listen| !listen.udp);
    for listen in of_servers.chain(of_streams) {
        if !addresses.iter().any(|known| known.address == listen.address) {
            addresses.push(listen);
        }
    }
    addresses
}

/// The addresses at which a configuration takes datagrams.
pub fn datagram_addresses(config: &Config) -> Vec<SocketAddr> {
    let all = config.streams.iter().flat_map(|stream| &stream.listen);
    all.filter_map(|listen| match listen.address {
        Endpoint::Ip(address) if listen.udp => Some(address),
        _ => None,
    })
    .collect()
}

/// The settings that differ and are read at start only.
pub fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let fixed = [("workers", before.workers != after.workers), ("state_file", before.state_file != after.state_file)];
    fixed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}
