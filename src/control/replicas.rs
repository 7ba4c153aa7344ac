//! What are the replicas behind a name called? Reverse DNS is asked in the background, one address at a time; requests
//! never wait for it, and nothing but logs and views depends on it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::discovery::Resolving;
use crate::clock::{Clock, Timestamp};
use crate::net::resolver::Reverse;
use crate::topology::Live;

/// Between two questions: at most 20 a second, however many peers there are.
const DISTANCE: Duration = Duration::from_millis(50);
/// An address may have gone to another replica: a name is believed for so long.
const AGAIN: Duration = Duration::from_secs(60);
/// After a failure, or of an address without a name.
const LATER: Duration = Duration::from_secs(300);

/// Finds out what peers that were found by a name are called.
pub struct Replicas {
    live: Arc<Live>,
    resolving: Resolving,
    /// When each address of the present snapshot is to be asked for again.
    due: HashMap<IpAddr, Timestamp>,
}

impl Replicas {
    /// Names the peers of `live`.
    pub fn new(live: Arc<Live>, resolving: Resolving) -> Replicas {
        Replicas { live, resolving, due: HashMap::new() }
    }

    /// Follows the snapshot.
    pub async fn run(mut self, mut version: watch::Receiver<u64>) {
        let clock = Clock::process();
        self.follow(clock.now());
        loop {
            let now = clock.now();
            match version.has_changed() {
                Ok(true) => {
                    version.mark_unchanged();
                    self.follow(now);
                }
                Ok(false) => {}
                Err(_) => return,
            }
            match self.due.iter().min_by_key(|(_, at)| **at) {
                Some((&addr, &at)) if at <= now => {
                    let wait = self.ask(addr).await;
                    self.due.insert(addr, clock.now() + wait);
                    sleep(DISTANCE).await;
                }
                Some((_, &at)) => {
                    tokio::select! {
                        () = sleep_until(clock.instant(at)) => {}
                        changed = version.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            version.mark_changed();
                        }
                    }
                }
                None => {
                    if version.changed().await.is_err() {
                        return;
                    }
                    version.mark_changed();
                }
            }
        }
    }

    /// Every address of the snapshot, each once; what is gone is forgotten. A peer that joins at an address whose name
    /// is known gets it, too.
    fn follow(&mut self, now: Timestamp) {
        let topology = self.live.load();
        let known = std::mem::take(&mut self.due);
        let mut names: HashMap<IpAddr, Option<Arc<str>>> = HashMap::new();
        let named = || topology.peers().map(|(_, peer)| peer).filter(|peer| peer.host.is_some());
        for (peer, addr) in named().filter_map(|peer| Some((peer, peer.addr.ip()?))) {
            let name = names.entry(addr).or_default();
            *name = name.take().or_else(|| peer.replica());
            self.due.entry(addr).or_insert_with(|| known.get(&addr).copied().unwrap_or(now));
        }
        for peer in named().filter(|peer| peer.replica().is_none()) {
            if let Some(Some(name)) = peer.addr.ip().and_then(|addr| names.get(&addr)) {
                peer.set_replica(name.clone());
            }
        }
    }

    /// Asks for one address. Returns when to ask again.
    async fn ask(&self, addr: IpAddr) -> Duration {
        let resolver = self.resolving.resolver();
        let Reverse::Called(name) = resolver.replica(addr).await else { return LATER };
        let name: Arc<str> = name.into();
        let topology = self.live.load();
        let peers = topology.peers().map(|(_, peer)| peer);
        let mut news = false;
        for peer in peers.filter(|peer| peer.host.is_some() && peer.addr.ip() == Some(addr)) {
            if peer.replica().as_ref() != Some(&name) {
                peer.set_replica(name.clone());
                news = true;
            }
        }
        if news {
            tracing::info!("{addr} is the replica {name}");
        }
        AGAIN
    }
}
