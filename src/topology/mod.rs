//! What exists now? Listeners, routes, groups and peers, as one immutable snapshot.
//!
//! | file | question |
//! | --- | --- |
//! | `routes` | which location answers this request? |
//! | `group`, `tier` | who could serve it? |
//! | `offer` | who shall serve it now, and if nobody: wait, or why not? |
//! | `acquire`, `queue` | how does a request wait for a peer? |
//! | `lease` | how is a peer used, and what does it say when the use ends? |
//! | `peer` | what is known of one peer, whatever is reloaded around it? |
//! | `budget` | how many retries may a group cost? |
//! | `apply`, `diff` | what is the snapshot after this change, and what is different? |
//! | `live` | which snapshot is it now? |

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::model::{Address, Config};
use crate::health;
use crate::id::{GroupId, PeerId};

mod acquire;
mod apply;
mod budget;
mod diff;
mod group;
mod lease;
mod live;
mod offer;
mod peer;
mod queue;
mod routes;
mod tier;
mod tried;
mod watch;

#[cfg(test)]
mod tests;

pub use acquire::acquire;
pub use apply::Change;
pub use budget::RetryBudget;
pub use diff::Applied;
pub use group::{Group, GroupState};
pub use lease::Lease;
pub use live::{Live, Reader};
pub use offer::{Ask, Nobody, Refused, WaitFor, Why};
pub use peer::{Peer, Tally};
pub use routes::{ListenerSpec, Route, VirtualHost, VirtualHosts};
pub use tier::{Seat, Tier};
pub use tried::Tried;

/// Everything that exists at one moment. Immutable; what moves (health, in-flight, rotation, budgets) lies in cells
/// that the next snapshot takes over.
#[derive(Debug)]
pub struct Topology {
    config: Arc<Config>,
    /// Those of `config.upstreams`, in that order.
    groups: Vec<Arc<Group>>,
    /// Where each group is in `groups`, by id.
    places: Vec<(GroupId, usize)>,
    listeners: Arc<[ListenerSpec]>,
    /// The latest answer for each name that ever had one.
    addresses: Arc<BTreeMap<String, Vec<IpAddr>>>,
    /// What `random` draws from.
    seed: u64,
}

/// A peer's state changed: for whoever logs it, and for attempts that wait for this peer.
#[derive(Clone, Debug)]
pub struct PeerTransition {
    /// Whose.
    pub peer: Arc<Peer>,
    /// From what, to what, and why.
    pub transition: health::Transition,
}

impl Topology {
    /// The configuration it was built from.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// All listeners, in the order of the file.
    pub fn listeners(&self) -> &[ListenerSpec] {
        &self.listeners
    }

    /// The listener with this configured address.
    pub fn listener(&self, address: SocketAddr) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|listener| listener.address == address)
    }

    /// All groups, in the order of the file.
    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// A group by its id; `None` once a reload has removed it.
    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.groups[self.places[at].1])
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
        let servers = self.config.upstreams.iter().flat_map(|upstream| &upstream.servers);
        let names = servers.filter_map(|server| match &server.address {
            Address::Name { host, .. } => Some(host.as_str()),
            Address::Ip(_) => None,
        });
        names.collect()
    }

    /// The latest answer for a name, sorted; `None`: there was none yet.
    pub fn addresses(&self, host: &str) -> Option<&[IpAddr]> {
        self.addresses.get(host).map(Vec::as_slice)
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
