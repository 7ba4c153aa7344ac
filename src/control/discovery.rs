//! Which addresses do the names in the configuration have now? Each name is asked for again and again, and at once
//! when a connect fails. (decisions: names)

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until};

use super::publisher::Request;
use crate::clock::{Clock, Timestamp};
use crate::mailbox::Notice;
use crate::net::resolver::{Answer, Resolver};
use crate::topology::{Change, Live};

/// Nobody is asked about one name more often than this, whatever happens.
const AT_MOST: Duration = Duration::from_secs(1);
/// A name that does not exist is believed when this has been said twice, so far apart.
const TWICE: Duration = Duration::from_secs(2);

/// Keeps the snapshot's names resolved.
pub struct Discovery {
    live: Arc<Live>,
    resolver: Rc<Resolver>,
    requests: mpsc::UnboundedSender<Request>,
    asked: HashMap<String, Name>,
}

struct Name {
    hurry: Rc<Notify>,
    task: AbortHandle,
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Resolves the names of `live` by `resolver`, and asks for changes through `requests`.
    pub fn new(live: Arc<Live>, resolver: Resolver, requests: mpsc::UnboundedSender<Request>) -> Discovery {
        Discovery { live, resolver: Rc::new(resolver), requests, asked: HashMap::new() }
    }

    /// Follows the snapshot (`version`) and the workers' notices.
    pub async fn run(mut self, mut version: watch::Receiver<u64>, mut notices: mpsc::UnboundedReceiver<Notice>) {
        loop {
            self.follow();
            tokio::select! {
                changed = version.changed() => if changed.is_err() { return },
                notice = notices.recv() => match notice {
                    Some(Notice::ConnectFailed { host }) => {
                        if let Some(name) = self.asked.get(&*host) {
                            name.hurry.notify_one();
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// One task for each name of the present snapshot.
    fn follow(&mut self) {
        let topology = self.live.load();
        let names = topology.names();
        self.asked.retain(|name, _| names.contains(name.as_str()));
        for name in names {
            if !self.asked.contains_key(name) {
                let hurry = Rc::new(Notify::new());
                let follow = Follow {
                    host: name.to_owned(),
                    live: Arc::clone(&self.live),
                    resolver: Rc::clone(&self.resolver),
                    requests: self.requests.clone(),
                    hurry: Rc::clone(&hurry),
                };
                let task = tokio::task::spawn_local(follow.run()).abort_handle();
                self.asked.insert(name.to_owned(), Name { hurry, task });
            }
        }
    }
}

/// One name.
struct Follow {
    host: String,
    live: Arc<Live>,
    resolver: Rc<Resolver>,
    requests: mpsc::UnboundedSender<Request>,
    hurry: Rc<Notify>,
}

impl Follow {
    async fn run(self) {
        let mut complained = false;
        let clock = Clock::process();
        let mut missing_since: Option<Timestamp> = None;
        loop {
            let asked = clock.now();
            let answer = self.resolver.resolve(&self.host).await;
            let again = match answer {
                Answer::Found { addrs, valid } => {
                    if complained {
                        tracing::info!("{} has an address now", self.host);
                    }
                    (complained, missing_since) = (false, None);
                    self.publish(addrs);
                    valid
                }
                Answer::NoSuchName => {
                    let since = *missing_since.get_or_insert(asked);
                    if self.addresses().is_empty() {
                        complain(&mut complained, &self.host, "there is no such name");
                    } else if asked.since(since) >= TWICE {
                        if !complained {
                            tracing::warn!("{}: there is no such name any more", self.host);
                        }
                        complained = true;
                        self.publish(self.still_passing());
                    }
                    TWICE
                }
                Answer::Failed(why) => {
                    // What was known still holds.
                    complain(&mut complained, &self.host, &why);
                    AT_MOST
                }
            };
            let hurried = self.hurry.notified();
            tokio::select! {
                () = sleep(again) => {}
                () = hurried => sleep_until(clock.instant(asked + AT_MOST)).await,
            }
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.live.load().addresses(&self.host).unwrap_or_default().to_vec()
    }

    /// Of a name that is gone, the addresses whose application still answers its probes.
    fn still_passing(&self) -> Vec<IpAddr> {
        let now = Clock::process().now();
        let topology = self.live.load();
        let peers = topology.peers().map(|(_, peer)| peer).filter(|peer| peer.host.as_deref() == Some(&self.host));
        let passing = peers.filter(|peer| peer.cell.verdict(now).last_probe_passed == Some(true));
        passing.map(|peer| peer.addr.ip()).collect()
    }

    fn publish(&self, mut addrs: Vec<IpAddr>) {
        addrs.sort_unstable();
        addrs.dedup();
        let topology = self.live.load();
        if topology.addresses(&self.host) == Some(addrs.as_slice()) {
            return;
        }
        let list: Vec<String> = addrs.iter().map(IpAddr::to_string).collect();
        tracing::info!("{} is {}", self.host, if list.is_empty() { "nowhere".to_owned() } else { list.join(", ") });
        let change = Change::Resolved { host: self.host.clone(), addrs };
        // The publisher is gone only when the process ends.
        let _ = self.requests.send(Request { change, done: None });
    }
}

/// One line for each outage of a name, not one for each question.
fn complain(complained: &mut bool, host: &str, why: &str) {
    if !*complained {
        tracing::warn!("cannot resolve {host}: {why}; asking again until there is an answer");
    }
    *complained = true;
}
