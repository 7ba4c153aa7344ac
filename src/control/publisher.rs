//! The only writer of the snapshot: every cause of change queues here, so nothing races.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::announce::Announcer;
use crate::clock::Clock;
use crate::config::Config;
use crate::mailbox::Command;
use crate::net::listener::{self, Listeners};
use crate::topology::{Applied, Change, Live};

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
    /// The real address of each configured one (port 0 becomes a port).
    listening: BTreeMap<SocketAddr, SocketAddr>,
    version: watch::Sender<u64>,
}

/// Binds all listeners of a configuration.
///
/// # Errors
/// The first address that cannot be had, with what to do about it.
pub fn bind_all(
    addresses: impl IntoIterator<Item = SocketAddr>,
    workers: usize,
) -> Result<Vec<(SocketAddr, Listeners)>, String> {
    addresses
        .into_iter()
        .map(|address| match listener::bind(address, workers) {
            Ok(listeners) => Ok((address, listeners)),
            Err(error) => Err(explain(address, &error)),
        })
        .collect()
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
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

impl Publisher {
    /// A publisher of `live`. `version` counts snapshots, for those who follow them.
    pub fn new(live: Arc<Live>, announcer: Arc<Announcer>, version: watch::Sender<u64>) -> Publisher {
        Publisher { live, announcer, listening: BTreeMap::new(), version }
    }

    /// Hands sockets to the workers, and says so.
    pub fn listen(&mut self, bound: Vec<(SocketAddr, Listeners)>) {
        for (configured, listeners) in bound {
            self.listening.insert(configured, listeners.address);
            for (worker, socket) in self.announcer.workers().iter().zip(listeners.sockets) {
                // A worker that is gone accepts nothing.
                let _ = worker.send(Command::Listen(socket, configured));
            }
            tracing::info!("listening on http://{}", listeners.address);
        }
    }

    /// Applies changes as they come, and lets time pass for peers that wait for it.
    pub async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let clock = Clock::process();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request { change, done }) => {
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
                }
            }
        }
    }

    /// Puts a change in force. Refused, it changes nothing.
    fn apply(&mut self, change: Change) -> Result<Applied, String> {
        let now = Clock::process().now();
        let before = self.live.load();
        let bound = match &change {
            Change::Config(config) => {
                warn_of_restart(before.config(), config);
                let new = addresses(config).into_iter().filter(|address| !self.listening.contains_key(address));
                bind_all(new, self.announcer.workers().len())?
            }
            Change::Resolved { .. } => Vec::new(),
        };
        let (next, applied) = before.apply(change, now);
        let kept: Vec<SocketAddr> = next.listeners().iter().map(|listener| listener.address).collect();
        let transitions = self.live.publish(next, &applied, now);
        self.version.send_modify(|version| *version += 1);
        self.listen(bound);
        let gone: Vec<SocketAddr> = self.listening.keys().filter(|address| !kept.contains(address)).copied().collect();
        for address in gone {
            self.announcer.tell_workers(|| Command::Unlisten(address));
            if let Some(real) = self.listening.remove(&address) {
                tracing::info!("no longer listening on http://{real}");
            }
        }
        transitions.iter().for_each(|changed| self.announcer.transition(changed));
        Ok(applied)
    }
}

/// How often peers that wait for time are looked at: an override that expires, a "kept" that ends.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// The addresses a configuration listens on, each once.
pub fn addresses(config: &Config) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for listen in config.servers.iter().flat_map(|server| &server.listen) {
        if !addresses.contains(&listen.address) {
            addresses.push(listen.address);
        }
    }
    addresses
}

/// Settings that are read at start only.
fn warn_of_restart(before: &Config, after: &Config) {
    let fixed = [
        ("workers", before.workers != after.workers),
        ("access_log", before.access_log != after.access_log),
        ("log_format", before.log_format != after.log_format),
        ("[admin]", before.admin != after.admin),
        ("resolver", before.resolver != after.resolver || before.resolver_valid != after.resolver_valid),
    ];
    for (name, _) in fixed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("`{name}` has changed: that takes effect at the next start of weir");
    }
}
