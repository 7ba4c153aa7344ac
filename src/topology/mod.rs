//! What exists now? Listeners, routes, groups and peers, as one immutable snapshot.
//!
//! | file | question |
//! | --- | --- |
//! | `routes` | which location answers this request? |
//! | `streams` | which group takes what comes to this address, as it comes? |
//! | `group`, `tier` | who could serve it? |
//! | `offer` | who shall serve it now, and if nobody: wait, or why not? |
//! | `acquire`, `queue` | how does a request wait for a peer? |
//! | `binding` | to whom is a request bound? |
//! | `lease` | how is a peer used, and what does it say when the use ends? |
//! | `peer` | what is known of one peer, whatever is reloaded around it? |
//! | `budget` | how many retries may a group cost? |
//! | `adjust` | what do operators want that the file does not say? |
//! | `zones` | what is known of the clients that limits count? |
//! | `found` | what have names and other sources said last? |
//! | `apply`, `diff` | what is the snapshot after this change, and what is different? |
//! | `live` | which snapshot is it now? |

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::affinity::Key;
use crate::clock::Timestamp;
use crate::config::model::{Address, Config, UpstreamServer};
use crate::endpoint::Endpoint;
use crate::health;
use crate::id::{GroupId, PeerId};

mod acquire;
mod adjust;
mod apply;
mod binding;
mod budget;
mod diff;
mod found;
mod group;
mod lease;
mod live;
mod offer;
mod peer;
mod queue;
mod routes;
mod streams;
mod tier;
mod tried;
mod watch;
mod zones;

#[cfg(test)]
mod tests;

pub use acquire::acquire;
pub use adjust::{Added, Adjustment, Adjustments, Ended, Kind, Override, Setting, Subject};
pub use apply::Change;
pub use binding::Binding;
pub use budget::RetryBudget;
pub use diff::Applied;
pub use found::{Source, Target};
pub use group::{Group, GroupState, Tries};
pub use lease::Lease;
pub use live::{Live, Local, Reader};
pub use offer::{Ask, Nobody, Refused, WaitFor, Why};
pub use peer::{Peer, Tally};
pub use routes::{ListenerSpec, Route, RouteMirror, RouteSplit, VirtualHost, VirtualHosts};
pub use streams::{StreamRoute, StreamSpec};
pub use tier::{Seat, Tier};
pub use tried::Tried;
pub use zones::Gates;

/// Everything that exists at one moment. Immutable; what moves (health, in-flight, rotation, budgets) lies in cells
/// that the next snapshot takes over.
#[derive(Debug)]
pub struct Topology {
    /// What the file says.
    file: Arc<Config>,
    /// What operators have changed beyond that.
    adjustments: Arc<Adjustments>,
    /// The file with the servers that were added to it.
    config: Arc<Config>,
    /// Those of `config.upstreams`, in that order.
    groups: Vec<Arc<Group>>,
    /// Where each group is in `groups`, by id.
    places: Vec<(GroupId, usize)>,
    listeners: Arc<[ListenerSpec]>,
    streams: Arc<[StreamSpec]>,
    /// The latest answer of each name and source that ever gave one.
    found: Arc<found::Found>,
    /// What limits know of clients.
    zones: Arc<zones::Zones>,
    /// What `random` draws from.
    seed: u64,
    /// What `sticky` goes by where the configuration has no secret.
    key: Key,
}

/// A peer's state changed: for whoever logs it, and for attempts that wait for this peer.
#[derive(Clone, Debug)]
pub struct PeerTransition {
    /// Whose.
    pub peer: Arc<Peer>,
    /// From what, to what, and why.
    pub transition: health::Transition,
}

/// What the connections to an address are for.
#[derive(Clone, Debug)]
pub enum Service {
    /// The servers that listen there.
    Http(ListenerSpec),
    /// The stream that takes them.
    Stream(Arc<StreamRoute>),
}

impl Topology {
    /// The configuration in force: the file, with the servers that operators have added.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What operators have changed beyond the file.
    pub fn adjustments(&self) -> &Adjustments {
        &self.adjustments
    }

    /// All listeners, in the order of the file.
    pub fn listeners(&self) -> &[ListenerSpec] {
        &self.listeners
    }

    /// The listener with this configured address.
    pub fn listener(&self, address: &Endpoint) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|listener| listener.address == *address)
    }

    /// The same for somebody who knows what answered there the last time, which is compared sooner than an address.
    #[inline]
    pub fn listener_again(&self, address: &Endpoint, hosts: Option<&Arc<VirtualHosts>>) -> Option<&ListenerSpec> {
        let known = hosts.and_then(|known| self.listeners.iter().find(|spec| Arc::ptr_eq(&spec.hosts, known)));
        if known.is_some() { known } else { self.listener(address) }
    }

    /// The addresses of all streams, in the order of the file.
    pub fn streams(&self) -> &[StreamSpec] {
        &self.streams
    }

    /// The stream that takes connections at this configured address.
    pub fn stream(&self, address: &Endpoint) -> Option<&Arc<StreamRoute>> {
        self.stream_at(address, false)
    }

    /// The stream that takes datagrams at this configured address.
    pub fn datagrams(&self, address: SocketAddr) -> Option<&Arc<StreamRoute>> {
        self.stream_at(&Endpoint::Ip(address), true)
    }

    /// Where the address of this route leads now.
    pub fn stream_again(&self, route: &StreamRoute) -> Option<&Arc<StreamRoute>> {
        self.stream_at(&route.listener, route.udp)
    }

    fn stream_at(&self, address: &Endpoint, udp: bool) -> Option<&Arc<StreamRoute>> {
        self.streams.iter().map(|stream| &stream.route).find(|route| route.udp == udp && route.listener == *address)
    }

    /// What connections to this configured address are for; `None`: nothing is listened for there.
    pub fn service(&self, address: &Endpoint) -> Option<Service> {
        let stream = self.stream(address).cloned().map(Service::Stream);
        stream.or_else(|| self.listener(address).cloned().map(Service::Http))
    }

    /// All groups, in the order of the file.
    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// A group by its id; `None` once a reload has removed it.
    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.place(id).map(|place| &self.groups[place])
    }

    /// Where it stands among [`Topology::groups`].
    fn place(&self, id: GroupId) -> Option<usize> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.places[at].1)
    }

    /// A group by its name.
    pub fn group_named(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups.iter().find(|group| group.name() == name)
    }

    /// All peers with their groups.
    pub fn peers(&self) -> impl Iterator<Item = (&Arc<Group>, &Arc<Peer>)> {
        self.groups.iter().flat_map(|group| group.seats().map(move |seat| (group, &seat.peer)))
    }

    /// A peer by its id.
    pub fn peer(&self, id: PeerId) -> Option<&Arc<Peer>> {
        self.peers().map(|(_, peer)| peer).find(|peer| peer.id == id)
    }

    /// The names that must be resolved, each once: an answer serves all servers of that name, whatever their ports.
    pub fn names(&self) -> BTreeSet<&str> {
        let names = self.servers().filter_map(|server| match &server.address {
            Address::Name { host, .. } => Some(host.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// The services whose SRV records must be asked for, each once, by their whole names.
    pub fn services(&self) -> BTreeSet<&str> {
        let names = self.servers().filter_map(|server| match &server.address {
            Address::Service { name } => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// Every server of every group, those that sources have found among them.
    fn servers(&self) -> impl Iterator<Item = &UpstreamServer> {
        self.groups.iter().flat_map(|group| &group.config.servers)
    }

    /// The latest answer for a name, sorted; `None`: there was none yet.
    pub fn addresses(&self, host: &str) -> Option<&[IpAddr]> {
        self.found.addresses(host)
    }

    /// The latest answer for a service, in order of address; `None`: there was none yet.
    pub fn targets(&self, service: &str) -> Option<&[Target]> {
        self.found.targets(service)
    }

    /// What a source said last of a group; `None`: nothing yet.
    pub fn discovered(&self, group: &str, source: Source) -> Option<&[UpstreamServer]> {
        self.found.peers(group, source)
    }

    /// When [`tick`](Topology::tick) is next due; `None`: nothing waits for time.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.peers().filter_map(|(_, peer)| peer.cell.wake_at()).min()
    }

    /// Lets time pass where nothing else happens: overrides expire, a "kept" ends.
    pub fn tick(&self, now: Timestamp) -> Vec<PeerTransition> {
        let due = self.peers().filter(|(_, peer)| peer.cell.wake_at().is_some_and(|at| at <= now));
        due.filter_map(|(_, peer)| peer.tell(health::Signal::Tick, now)).collect()
    }
}
