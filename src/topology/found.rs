//! What have names and other sources said last? The file says who is asked; this is what they answered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::model::{Address, Config, Upstream, UpstreamServer};
use crate::endpoint::Endpoint;

/// One address that a service's SRV records lead to. (RFC 2782)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The lowest of a service are its primaries, all others its backups.
    pub priority: u16,
    /// Its share; 0 counts as 1.
    pub weight: u16,
    /// An address of the record's target, and the record's port.
    pub addr: SocketAddr,
}

/// Who finds peers beside the file's own `servers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `servers_file`.
    File,
    /// `docker`: labels of containers.
    Docker,
    /// `consul`: its health API.
    Consul,
}

/// Where a peer is, its parameters, and the name it was found by.
pub(super) type Place = (Endpoint, Arc<UpstreamServer>, Option<Arc<str>>);

/// The latest of every answer. It outlives a reload for as long as somebody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    services: BTreeMap<String, Vec<Target>>,
    peers: BTreeMap<(Arc<str>, Source), Vec<UpstreamServer>>,
}

impl Source {
    /// Whether this group asks this source.
    fn serves(self, upstream: &Upstream) -> bool {
        match self {
            Source::File => upstream.servers_file.is_some(),
            Source::Docker => upstream.docker,
            Source::Consul => upstream.consul.is_some(),
        }
    }
}

impl Found {
    /// A name has these addresses. They are kept in order, so that several weirs agree on the ring and the rotation.
    pub(super) fn set_addresses(&mut self, host: &str, mut addrs: Vec<IpAddr>) {
        addrs.sort_unstable();
        addrs.dedup();
        self.addresses.insert(host.to_ascii_lowercase(), addrs);
    }

    /// A service has these targets. Of several records for one address the most important counts.
    pub(super) fn set_targets(&mut self, service: &str, mut targets: Vec<Target>) {
        targets.sort_by_key(|target| (target.addr, target.priority, u16::MAX - target.weight));
        targets.dedup_by_key(|target| target.addr);
        self.services.insert(service.to_ascii_lowercase(), targets);
    }

    /// A source knows these peers of a group.
    pub(super) fn set_peers(&mut self, group: Arc<str>, source: Source, peers: Vec<UpstreamServer>) {
        self.peers.insert((group, source), peers);
    }

    /// Forgets what nobody asks for any more under this configuration.
    pub(super) fn keep_to(&mut self, config: &Config) {
        self.peers.retain(|(group, source), _| {
            config.upstreams.iter().any(|upstream| upstream.name == *group && source.serves(upstream))
        });
    }

    pub(super) fn addresses(&self, host: &str) -> Option<&[IpAddr]> {
        self.addresses.get(host).map(Vec::as_slice)
    }

    pub(super) fn targets(&self, service: &str) -> Option<&[Target]> {
        self.services.get(service).map(Vec::as_slice)
    }

    pub(super) fn peers(&self, group: &str, source: Source) -> Option<&[UpstreamServer]> {
        let found = self.peers.iter().find(|((of, from), _)| &**of == group && *from == source);
        found.map(|(_, peers)| peers.as_slice())
    }

    /// Whether there was ever an answer for a name or a service.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.addresses.contains_key(name) || self.services.contains_key(name)
    }

    /// A group with the servers that its sources have found, behind its own.
    pub(super) fn complete<'u>(&self, upstream: &'u Upstream) -> Cow<'u, Upstream> {
        let found = self.peers.iter().filter(|((group, _), peers)| *group == upstream.name && !peers.is_empty());
        let more: Vec<&UpstreamServer> = found.flat_map(|(_, peers)| peers).collect();
        if more.is_empty() {
            return Cow::Borrowed(upstream);
        }
        let mut whole = upstream.clone();
        whole.servers.extend(more.into_iter().cloned());
        Cow::Owned(whole)
    }

    /// Where a server's peers are, each with its parameters, and the name that it was found by.
    pub(super) fn places(&self, server: &UpstreamServer) -> Vec<Place> {
        match &server.address {
            Address::Ip(addr) => vec![(Endpoint::Ip(*addr), Arc::new(server.clone()), None)],
            Address::Unix(path) => vec![(Endpoint::Unix(path.clone()), Arc::new(server.clone()), None)],
            Address::Name { host, port } => {
                let (shared, name): (_, Arc<str>) = (Arc::new(server.clone()), host.as_str().into());
                let addrs = self.addresses(host).unwrap_or_default().iter();
                addrs.map(|addr| (SocketAddr::new(*addr, *port).into(), shared.clone(), Some(name.clone()))).collect()
            }
            Address::Service { name } => {
                let found: Arc<str> = name.as_str().into();
                let targets = self.targets(name).unwrap_or_default();
                let most_important = targets.iter().map(|target| target.priority).min();
                let of_target = |target: &Target| {
                    let server = of_target(server, target, Some(target.priority) == most_important)?;
                    Some((target.addr.into(), Arc::new(server), Some(found.clone())))
                };
                targets.iter().filter_map(of_target).collect()
            }
        }
    }
}

/// A server's parameters for one of its targets (nginx: `service`). Of a server that is a backup itself only the most
/// important targets are used. A weight in the configuration beats that of the record.
fn of_target(server: &UpstreamServer, target: &Target, most_important: bool) -> Option<UpstreamServer> {
    if server.backup && !most_important {
        return None;
    }
    let weight = if server.weight == 1 { u32::from(target.weight.max(1)) } else { server.weight };
    Some(UpstreamServer { weight, backup: server.backup || !most_important, ..server.clone() })
}
