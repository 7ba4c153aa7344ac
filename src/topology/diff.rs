//! What is different in the new snapshot?

use std::fmt;
use std::sync::Arc;

use super::adjust::Ended;
use super::group::Group;
use super::peer::Peer;
use super::routes::ListenerSpec;
use super::streams::StreamSpec;
use crate::endpoint::Endpoint;

/// What a change has added, removed and changed: for the log, and for whoever must act on it.
#[derive(Debug, Default)]
pub struct Applied {
    /// Groups that are new.
    pub groups_added: Vec<Arc<str>>,
    /// Groups that are no more.
    pub groups_removed: Vec<Arc<str>>,
    /// Groups that stay, with other settings of their own (not of their servers).
    pub groups_changed: Vec<Arc<str>>,
    /// Peers that are new, those of new groups included.
    pub peers_added: Vec<Arc<Peer>>,
    /// Peers that are no more: they finish what they have.
    pub peers_removed: Vec<Arc<Peer>>,
    /// Peers that stay, with other parameters.
    pub peers_changed: Vec<Arc<Peer>>,
    /// Addresses to listen on from now on.
    pub listeners_added: Vec<Endpoint>,
    /// Addresses no longer to listen on.
    pub listeners_removed: Vec<Endpoint>,
    /// Whether servers or locations were read anew.
    pub routes_changed: bool,
    /// Whether what streams listen on or lead to is different.
    pub streams_changed: bool,
    /// What operators had changed, and holds no longer.
    pub ended: Vec<Ended>,
    pub(super) regrouped: Vec<Regrouped>,
}

/// A group that is not the same object as before.
#[derive(Debug)]
pub(super) struct Regrouped {
    pub before: Option<Arc<Group>>,
    pub after: Arc<Group>,
}

impl Applied {
    /// Whether the new snapshot is as the old one.
    pub fn is_empty(&self) -> bool {
        self.regrouped.is_empty()
            && self.ended.is_empty()
            && self.groups_removed.is_empty()
            && self.listeners_added.is_empty()
            && self.listeners_removed.is_empty()
            && !self.routes_changed
            && !self.streams_changed
    }

    pub(super) fn regroup(
        &mut self,
        before: Option<&Arc<Group>>,
        after: &Arc<Group>,
        added: Vec<Arc<Peer>>,
        changed: Vec<Arc<Peer>>,
        removed: Vec<Arc<Peer>>,
    ) {
        let name = || after.state.name.clone();
        match before {
            None => self.groups_added.push(name()),
            Some(before) if !same_settings(before, after) => self.groups_changed.push(name()),
            Some(_) => {}
        }
        self.peers_added.extend(added);
        self.peers_changed.extend(changed);
        self.peers_removed.extend(removed);
        self.regrouped.push(Regrouped { before: before.cloned(), after: after.clone() });
    }

    pub(super) fn remove_group(&mut self, group: &Arc<Group>) {
        self.groups_removed.push(group.state.name.clone());
        self.peers_removed.extend(group.seats().map(|seat| seat.peer.clone()));
    }

    pub(super) fn compare_listeners(&mut self, before: &Arc<[ListenerSpec]>, after: &Arc<[ListenerSpec]>) {
        if Arc::ptr_eq(before, after) || (before.is_empty() && after.is_empty()) {
            return;
        }
        let missing = |from: &[ListenerSpec], wanted: &[ListenerSpec]| -> Vec<Endpoint> {
            let addresses = wanted.iter().map(|listener| &listener.address);
            addresses.filter(|address| from.iter().all(|listener| listener.address != **address)).cloned().collect()
        };
        self.listeners_added = missing(before, after);
        self.listeners_removed = missing(after, before);
        self.routes_changed = true;
    }

    pub(super) fn compare_streams(&mut self, before: &Arc<[StreamSpec]>, after: &Arc<[StreamSpec]>) {
        self.streams_changed = !Arc::ptr_eq(before, after);
    }
}

/// Its address, and the replica's own name if that is known.
fn shown(peer: &Peer) -> String {
    match peer.replica() {
        Some(replica) => format!("{} ({replica})", peer.name),
        None => peer.name.to_string(),
    }
}

/// How many differences one line names.
const MOST_SHOWN: usize = 20;

fn same_settings(before: &Group, after: &Group) -> bool {
    let mut config = (*before.config).clone();
    config.servers.clone_from(&after.config.servers);
    config == *after.config
}

impl fmt::Display for Applied {
    /// One line: `+web/10.0.0.3:80, -web/10.0.0.1:80, +listen 0.0.0.0:81, routes`, or `nothing changed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.groups_added.iter().map(|name| format!("+upstream {name}")));
        parts.extend(self.groups_removed.iter().map(|name| format!("-upstream {name}")));
        parts.extend(self.groups_changed.iter().map(|name| format!("~upstream {name}")));
        let peers = [('+', &self.peers_added), ('-', &self.peers_removed), ('~', &self.peers_changed)];
        for (sign, peers) in peers {
            parts.extend(peers.iter().map(|peer| format!("{sign}{}/{}", peer.group.name, shown(peer))));
        }
        parts.extend(self.listeners_added.iter().map(|address| format!("+listen {address}")));
        parts.extend(self.listeners_removed.iter().map(|address| format!("-listen {address}")));
        if self.routes_changed {
            parts.push("routes".to_owned());
        }
        if self.streams_changed {
            parts.push("streams".to_owned());
        }
        match parts.len().checked_sub(MOST_SHOWN) {
            None | Some(0) if parts.is_empty() => f.write_str("nothing changed"),
            None | Some(0) => f.write_str(&parts.join(", ")),
            Some(more) => write!(f, "{} and {more} more", parts[..MOST_SHOWN].join(", ")),
        }
    }
}
