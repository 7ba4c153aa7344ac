//! Who finds peers beside DNS? A watched file, the labels of containers, Consul. Each source keeps its last good list,
//! and ends in the same change of the snapshot, so that routing, health and draining know nothing of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use super::discovery::Resolving;
use super::publisher::Request;
use crate::config::model::{self, UpstreamServer};
use crate::topology::{Change, Live, Source};

mod client;
mod consul;
mod docker;
pub mod file;
mod labels;

/// The first and the longest pause after a source could not be asked.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Keeps one task for each source of the snapshot's configuration.
pub struct Sources {
    live: Arc<Live>,
    resolving: Resolving,
    requests: mpsc::UnboundedSender<Request>,
    asked: HashMap<Asked, Task>,
}

/// Who is asked for what. Another one is another task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    File { group: Arc<str>, path: PathBuf },
    Docker { socket: PathBuf },
    Consul { group: Arc<str>, service: model::Consul },
}

struct Task {
    /// Told when the configuration may want something else of it.
    again: Rc<Notify>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Sources {
    /// Follows the sources of `live`, and asks for changes through `requests`.
    pub fn new(live: Arc<Live>, resolving: Resolving, requests: mpsc::UnboundedSender<Request>) -> Sources {
        Sources { live, resolving, requests, asked: HashMap::new() }
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

    fn follow(&mut self) {
        let wanted = self.wanted();
        self.asked.retain(|asked, _| wanted.contains(asked));
        for asked in wanted {
            if let Some(task) = self.asked.get(&asked) {
                task.again.notify_one();
                continue;
            }
            let again = Rc::new(Notify::new());
            let told = Told { live: Arc::clone(&self.live), requests: self.requests.clone() };
            let handle = match asked.clone() {
                Asked::File { group, path } => tokio::task::spawn_local(file::follow(group, path, told)),
                Asked::Docker { socket } => {
                    tokio::task::spawn_local(docker::Follow::new(socket, told, Rc::clone(&again)).run())
                }
                Asked::Consul { group, service } => {
                    tokio::task::spawn_local(consul::Follow::new(group, service, self.resolving.clone(), told).run())
                }
            };
            self.asked.insert(asked, Task { again, handle: handle.abort_handle() });
        }
    }

    fn wanted(&self) -> Vec<Asked> {
        let topology = self.live.load();
        let config = topology.config();
        let mut wanted = Vec::new();
        for upstream in &config.upstreams {
            let group = || Arc::clone(&upstream.name);
            wanted.extend(upstream.servers_file.clone().map(|path| Asked::File { group: group(), path }));
            wanted.extend(upstream.consul.clone().map(|service| Asked::Consul { group: group(), service }));
        }
        if config.upstreams.iter().any(|upstream| upstream.docker) {
            wanted.push(Asked::Docker { socket: config.docker_socket.clone() });
        }
        wanted
    }
}

/// Where a source tells what it has found.
struct Told {
    live: Arc<Live>,
    requests: mpsc::UnboundedSender<Request>,
}

impl Told {
    /// A group has these peers by this source. `from` is the source's name in the log.
    fn publish(&self, group: &Arc<str>, source: Source, from: &str, peers: Vec<UpstreamServer>) {
        if self.live.load().discovered(group, source) == Some(&*peers) {
            return;
        }
        let list: Vec<&str> = peers.iter().map(|peer| &*peer.text).take(MOST_SHOWN).collect();
        let list = match peers.len().checked_sub(MOST_SHOWN) {
            _ if peers.is_empty() => "nobody".to_owned(),
            Some(more @ 1..) => format!("{} and {more} more", list.join(", ")),
            _ => list.join(", "),
        };
        tracing::info!("{group}: {from} has {list}");
        let change = Change::Discovered { group: Arc::clone(group), source, peers };
        // The publisher is gone only when the process ends.
        let _ = self.requests.send(Request { change, done: None });
    }
}

/// How many peers one line names.
const MOST_SHOWN: usize = 20;

/// One line for each outage of a source, and longer pauses the longer it lasts.
struct Outage {
    source: String,
    told: bool,
    pause: Duration,
}

impl Outage {
    fn of(source: String) -> Outage {
        Outage { source, told: false, pause: PAUSES.0 }
    }

    /// It could not be asked. Returns how long to wait before the next try.
    fn failed(&mut self, why: &str) -> Duration {
        if !self.told {
            tracing::warn!("{}: {why}; what was found before stays, and it is asked again", self.source);
        }
        self.told = true;
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES.1);
        pause
    }

    /// It answers.
    fn over(&mut self) {
        if self.told {
            tracing::info!("{} answers again", self.source);
        }
        (self.told, self.pause) = (false, PAUSES.0);
    }
}
