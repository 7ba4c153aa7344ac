//! Which addresses do the names in the configuration have now? Each name is asked for again and again, and at once
//! when a connect fails. (decisions: names)

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until};

use super::publisher::Request;
use crate::clock::{Clock, Timestamp};
use crate::endpoint::Endpoint;
use crate::mailbox::Notice;
use crate::net::resolver::{Answer, Resolver};
use crate::topology::{Change, Live, Target};

/// Nobody is asked about one name more often than this, whatever happens.
const AT_MOST: Duration = Duration::from_secs(1);
/// A name that does not exist is believed when this has been said twice, so far apart.
const TWICE: Duration = Duration::from_secs(2);

/// The resolver of the configuration in force. All of the control plane asks through it.
#[derive(Clone)]
pub struct Resolving(Rc<RefCell<Setup>>);

struct Setup {
    servers: Vec<SocketAddr>,
    valid: Option<Duration>,
    resolver: Rc<Resolver>,
}

impl Resolving {
    /// As the configuration in `live` says.
    pub fn new(live: &Live) -> Resolving {
        let topology = live.load();
        let (servers, valid) = (topology.config().resolver.clone(), topology.config().resolver_valid);
        let resolver = Rc::new(Resolver::new(&servers, valid));
        Resolving(Rc::new(RefCell::new(Setup { servers, valid, resolver })))
    }

    /// Whom to ask now.
    pub fn resolver(&self) -> Rc<Resolver> {
        Rc::clone(&self.0.borrow().resolver)
    }

    /// Takes over what a reload says. `true`: others are asked from now on, or their answers are kept for another time.
    fn follow(&self, live: &Live) -> bool {
        let topology = live.load();
        let config = topology.config();
        let mut setup = self.0.borrow_mut();
        if setup.servers == config.resolver && setup.valid == config.resolver_valid {
            return false;
        }
        let (servers, valid) = (config.resolver.clone(), config.resolver_valid);
        let resolver = Rc::new(Resolver::new(&servers, valid));
        *setup = Setup { servers, valid, resolver };
        true
    }
}

/// Keeps the snapshot's names resolved.
pub struct Discovery {
    live: Arc<Live>,
    resolving: Resolving,
    requests: mpsc::UnboundedSender<Request>,
    asked: HashMap<Name, Asking>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// The addresses of a host.
    Host(String),
    /// The SRV records of a service.
    Service(String),
}

struct Asking {
    hurry: Rc<Notify>,
    task: AbortHandle,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Resolves the names of `live`, and asks for changes through `requests`.
    pub fn new(live: Arc<Live>, resolving: Resolving, requests: mpsc::UnboundedSender<Request>) -> Discovery {
        Discovery { live, resolving, requests, asked: HashMap::new() }
    }

    /// Follows the snapshot (`version`) and the workers' notices.
    pub async fn run(mut self, mut version: watch::Receiver<u64>, mut notices: mpsc::UnboundedReceiver<Notice>) {
        self.follow();
        loop {
            tokio::select! {
                changed = version.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                notice = notices.recv() => match notice {
                    Some(Notice::ConnectFailed { host }) => self.hurry(&host),
                    None => return,
                },
            }
        }
    }

    /// One task for each name of the present snapshot.
    fn follow(&mut self) {
        let topology = self.live.load();
        let hosts = topology.names().into_iter().map(|host| Name::Host(host.to_owned()));
        let services = topology.services().into_iter().map(|service| Name::Service(service.to_owned()));
        let names: Vec<Name> = hosts.chain(services).collect();
        self.asked.retain(|name, _| names.contains(name));
        if self.resolving.follow(&self.live) {
            self.asked.values().for_each(|asking| asking.hurry.notify_one());
        }
        for name in names {
            if !self.asked.contains_key(&name) {
                let hurry = Rc::new(Notify::new());
                let follow = Follow {
                    name: name.clone(),
                    live: Arc::clone(&self.live),
                    resolving: self.resolving.clone(),
                    requests: self.requests.clone(),
                    hurry: Rc::clone(&hurry),
                };
                let task = tokio::task::spawn_local(follow.run()).abort_handle();
                self.asked.insert(name, Asking { hurry, task });
            }
        }
    }

    /// A connect to a peer of this name failed.
    fn hurry(&self, name: &str) {
        for name in [Name::Host(name.to_owned()), Name::Service(name.to_owned())] {
            if let Some(asking) = self.asked.get(&name) {
                asking.hurry.notify_one();
            }
        }
    }
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Name::Host(text) | Name::Service(text) => text,
        }
    }
}

/// What was found for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Places {
    Addresses(Vec<IpAddr>),
    Targets(Vec<Target>),
}

/// One name.
struct Follow {
    name: Name,
    live: Arc<Live>,
    resolving: Resolving,
    requests: mpsc::UnboundedSender<Request>,
    hurry: Rc<Notify>,
}

impl Follow {
    async fn run(self) {
        let mut complained = false;
        let clock = Clock::process();
        let mut missing_since: Option<Timestamp> = None;
        let name = self.name.text();
        loop {
            let asked = clock.now();
            let again = match self.ask().await {
                Answer::Found { addrs, valid } => {
                    if complained {
                        tracing::info!("{name} has an address now");
                    }
                    (complained, missing_since) = (false, None);
                    self.publish(addrs);
                    valid
                }
                Answer::NoSuchName => {
                    let since = *missing_since.get_or_insert(asked);
                    if self.known().is_none_or(|places| places.is_empty()) {
                        complain(&mut complained, name, "there is no such name");
                    } else if asked.since(since) >= TWICE {
                        if !complained {
                            tracing::warn!("{name}: there is no such name any more");
                        }
                        complained = true;
                        self.publish(self.still_passing());
                    }
                    // A name that never was is likely to be on its way.
                    if self.known().is_none() { AT_MOST } else { TWICE }
                }
                Answer::Failed(why) => {
                    // What was known still holds.
                    complain(&mut complained, name, &why);
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

    async fn ask(&self) -> Answer<Places> {
        let resolver = self.resolving.resolver();
        match &self.name {
            Name::Host(host) => match resolver.resolve(host).await {
                Answer::Found { mut addrs, valid } => {
                    addrs.sort_unstable();
                    addrs.dedup();
                    Answer::Found { addrs: Places::Addresses(addrs), valid }
                }
                Answer::NoSuchName => Answer::NoSuchName,
                Answer::Failed(why) => Answer::Failed(why),
            },
            Name::Service(service) => match resolver.locate(service).await {
                Answer::Found { addrs, valid } => {
                    let target = |found: &crate::net::resolver::Located| Target {
                        priority: found.priority,
                        weight: found.weight,
                        addr: found.addr,
                    };
                    Answer::Found { addrs: Places::Targets(addrs.iter().map(target).collect()), valid }
                }
                Answer::NoSuchName => Answer::NoSuchName,
                Answer::Failed(why) => Answer::Failed(why),
            },
        }
    }

    /// What the snapshot knows of the name; `None`: there was no answer yet.
    fn known(&self) -> Option<Places> {
        let topology = self.live.load();
        match &self.name {
            Name::Host(host) => topology.addresses(host).map(|addrs| Places::Addresses(addrs.to_vec())),
            Name::Service(service) => topology.targets(service).map(|targets| Places::Targets(targets.to_vec())),
        }
    }

    /// Of a name that is gone, the addresses whose application still answers its probes.
    fn still_passing(&self) -> Places {
        let now = Clock::process().now();
        let topology = self.live.load();
        let peers =
            topology.peers().map(|(_, peer)| peer).filter(|peer| peer.host.as_deref() == Some(self.name.text()));
        let passing = peers.filter(|peer| peer.cell.verdict(now).last_probe_passed == Some(true));
        let passing: Vec<Endpoint> = passing.map(|peer| peer.addr.clone()).collect();
        match self.known() {
            Some(Places::Targets(mut targets)) => {
                targets.retain(|target| passing.contains(&target.addr.into()));
                Places::Targets(targets)
            }
            Some(Places::Addresses(mut addrs)) => {
                addrs.retain(|addr| passing.iter().any(|peer| peer.ip() == Some(*addr)));
                Places::Addresses(addrs)
            }
            None => Places::Addresses(Vec::new()),
        }
    }

    fn publish(&self, places: Places) {
        if self.known().as_ref() == Some(&places) {
            return;
        }
        let name = self.name.text().to_owned();
        tracing::info!("{name} is {}", places.listed());
        let change = match places {
            Places::Addresses(addrs) => Change::Resolved { host: name, addrs },
            Places::Targets(targets) => Change::Located { service: name, targets },
        };
        // The publisher is gone only when the process ends.
        let _ = self.requests.send(Request { change, done: None });
    }
}

impl Places {
    fn is_empty(&self) -> bool {
        match self {
            Places::Addresses(addrs) => addrs.is_empty(),
            Places::Targets(targets) => targets.is_empty(),
        }
    }

    /// For the log: `10.0.0.1, 10.0.0.2`, or `nowhere`.
    fn listed(&self) -> String {
        let list: Vec<String> = match self {
            Places::Addresses(addrs) => addrs.iter().map(IpAddr::to_string).collect(),
            Places::Targets(targets) => targets.iter().map(|target| target.addr.to_string()).collect(),
        };
        if list.is_empty() { "nowhere".to_owned() } else { list.join(", ") }
    }
}

/// One line for each outage of a name, not one for each question.
fn complain(complained: &mut bool, host: &str, why: &str) {
    if !*complained {
        tracing::warn!("cannot resolve {host}: {why}; asking again until there is an answer");
    }
    *complained = true;
}
