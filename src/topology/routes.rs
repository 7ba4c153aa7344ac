//! Which location answers this request? Listener, then server name, then path.

use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{ClientLimits, Config, Listen, Location, NextUpstream, Server, ServerName, Share};
use crate::config::template::Template;
use crate::endpoint::Endpoint;
use crate::id::GroupId;
use crate::shape::{Mirrors, Split};
use crate::tls::Acceptor;

mod hosts;
mod paths;

use super::zones::{Gates, Zones};
use hosts::Names;
use paths::Paths;

/// One address to listen on, and who answers there.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The address as configured (port 0 stays 0): what tells listeners apart across snapshots.
    pub address: Endpoint,
    /// Whether every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// The servers that listen there.
    pub hosts: Arc<VirtualHosts>,
    /// Clients may begin with HTTP/2 at once: any of its servers says so.
    pub h2c: bool,
}

/// The servers of one listener, found by name. (nginx: `ngx_http_find_virtual_server`)
#[derive(Debug)]
pub struct VirtualHosts {
    names: Names,
    servers: Vec<Arc<VirtualHost>>,
    default: usize,
    /// For each server its handshake; empty: plain connections.
    acceptors: Vec<Arc<Acceptor>>,
}

/// One `[[server]]` as seen from a listener.
#[derive(Debug)]
pub struct VirtualHost {
    /// `$server_name`: the first name as written; empty if it has none.
    pub name: Arc<str>,
    /// What its clients may send, and how long they may take.
    pub client: Arc<ClientLimits>,
    /// `redirect_to_https`: the port that plain requests are sent to.
    pub redirect_to_https: Option<u16>,
    /// `hsts`: the value of Strict-Transport-Security.
    pub hsts: Option<Arc<str>>,
    paths: Paths,
}

/// A location with everything that a request needs of it, behind one `Arc`. A request takes its route once and keeps
/// it whatever is reloaded meanwhile.
#[derive(Debug)]
pub struct Route {
    /// Where its peers come from: `Topology::group`. [`GroupId::NONE`]: the location answers by itself.
    pub group: GroupId,
    /// That group's name, for logs.
    pub group_name: Arc<str>,
    /// `$server_name`.
    pub server_name: Arc<str>,
    /// The location as configured.
    pub location: Location,
    /// What clients of the server may send, and how long they may take.
    pub client: Arc<ClientLimits>,
    /// What its requests must pass.
    pub gates: Gates,
    /// Who gets a share of its requests in its place.
    pub split: Option<RouteSplit>,
    /// Who gets copies of a share of them.
    pub mirror: Option<Arc<RouteMirror>>,
}

/// `split` of a location.
#[derive(Debug)]
pub struct RouteSplit {
    /// Who gets how much.
    pub shares: Split,
    /// `split_key`.
    pub key: Option<Template>,
    /// The route of each share: the same location with another group.
    pub routes: Vec<Arc<Route>>,
}

/// `mirror` of a location.
#[derive(Debug)]
pub struct RouteMirror {
    /// How much is copied, and what is under way.
    pub mirrors: Arc<Mirrors>,
    /// The same location with another group.
    pub route: Arc<Route>,
    /// How long that group may be silent.
    pub timeout: Duration,
}

impl VirtualHosts {
    /// The route for a request, or `None`: 404. `host` is what the client named, without a port; `path` is decoded and
    /// without dot segments.
    pub fn route(&self, host: &[u8], path: &[u8]) -> Option<&Arc<Route>> {
        self.server(host).route(path)
    }

    /// The server for a name: the exact name, else the longest `*.suffix`, else the longest `prefix.*`, else the
    /// default. Letter case and one trailing dot do not matter.
    /// (nginx: <https://nginx.org/en/docs/http/server_names.html>)
    pub fn server(&self, host: &[u8]) -> &Arc<VirtualHost> {
        &self.servers[self.names.find(host).unwrap_or(self.default)]
    }

    /// The server that answers for names that no server has: the one marked `default_server`, else the first. Its
    /// limits hold until a request has told its host.
    pub fn default_server(&self) -> &Arc<VirtualHost> {
        &self.servers[self.default]
    }

    /// Whether clients speak TLS here.
    pub fn is_tls(&self) -> bool {
        !self.acceptors.is_empty()
    }

    /// The handshake for a client that asks for this name (SNI, or Host); `None`: connections are plain.
    pub fn acceptor(&self, name: &[u8]) -> Option<&Arc<Acceptor>> {
        self.acceptors.get(self.names.find(name).unwrap_or(self.default))
    }

    /// All servers, in the order of the file.
    pub fn servers(&self) -> &[Arc<VirtualHost>] {
        &self.servers
    }
}

impl VirtualHost {
    /// The location for a decoded path: the exact one, else the longest prefix. A prefix is one of letters, not of
    /// segments, as in nginx: `/x` answers for `/xy` as well; write `/x/` to mean the folder.
    pub fn route(&self, path: &[u8]) -> Option<&Arc<Route>> {
        self.paths.find(path)
    }

    /// All its locations, exact ones first, each kind in byte order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.paths.iter()
    }
}

/// The listeners of a configuration, each address once, in the order of the file. `groups[i]` is the group of
/// `config.upstreams[i]`.
pub(super) fn listeners(config: &Config, groups: &[(GroupId, Arc<str>)], zones: &Zones) -> Vec<ListenerSpec> {
    // A server is one thing, whatever number of addresses it listens on.
    let servers: Vec<Arc<VirtualHost>> =
        config.servers.iter().map(|s| Arc::new(virtual_host(s, groups, zones))).collect();
    let mut addresses: Vec<&Listen> = Vec::new();
    for listen in config.servers.iter().flat_map(|server| &server.listen) {
        if !addresses.iter().any(|known| known.address == listen.address) {
            addresses.push(listen);
        }
    }
    let spec = |listen: &Listen| {
        let mut here = config.servers.iter().flat_map(|server| &server.listen).filter(|l| l.address == listen.address);
        ListenerSpec {
            address: listen.address.clone(),
            proxy_protocol: listen.proxy_protocol,
            h2c: here.any(|listen| listen.h2c),
            hosts: Arc::new(hosts_of(&listen.address, config, &servers)),
        }
    };
    addresses.into_iter().map(spec).collect()
}

fn hosts_of(address: &Endpoint, config: &Config, all: &[Arc<VirtualHost>]) -> VirtualHosts {
    let mut names = Names::default();
    let mut servers = Vec::new();
    let mut default = None;
    let mut own = Vec::new();
    for (server, host) in config.servers.iter().zip(all) {
        let mut here = server.listen.iter().filter(|listen| listen.address == *address).peekable();
        if here.peek().is_none() {
            continue;
        }
        let index = servers.len();
        servers.push(host.clone());
        server.server_name.iter().for_each(|name| names.insert(name, index));
        own.push(here.peek().and_then(|listen| listen.tls.clone()));
        if here.any(|listen: &Listen| listen.default_server) {
            default.get_or_insert(index);
        }
    }
    let default = default.unwrap_or(0);
    VirtualHosts { names, servers, default, acceptors: acceptors(&own, default) }
}

/// Each server's own acceptor, else the default server's, else the first there is: as in nginx, a port on which one
/// server speaks TLS is one for all of them.
fn acceptors(own: &[Option<Arc<Acceptor>>], default: usize) -> Vec<Arc<Acceptor>> {
    let usual = own.get(default).cloned().flatten().or_else(|| own.iter().flatten().next().cloned());
    usual.map_or_else(Vec::new, |usual| own.iter().map(|own| own.as_ref().unwrap_or(&usual).clone()).collect())
}

fn virtual_host(server: &Server, groups: &[(GroupId, Arc<str>)], zones: &Zones) -> VirtualHost {
    let name: Arc<str> = server.server_name.first().map(written).unwrap_or_default().into();
    let client = Arc::new(server.client.clone());
    let route = |location: &Location| {
        // A checked configuration refers to its own upstreams only.
        let (group, group_name) = location.upstream.map_or((GroupId::NONE, "".into()), |at| groups[at].clone());
        let plain = |location: Location, group, group_name| Route {
            group,
            group_name,
            server_name: name.clone(),
            location,
            client: client.clone(),
            gates: Gates::default(),
            split: None,
            mirror: None,
        };
        let share = |location: Location, share: &Share| {
            let (group, group_name) = groups[share.upstream].clone();
            let location = Location { upstream: Some(share.upstream), proxy_host: share.name.clone(), ..location };
            plain(location, group, group_name)
        };
        let mirror = location.mirror.as_ref().map(|mirror| {
            Arc::new(RouteMirror {
                mirrors: Arc::new(Mirrors::new(mirror.share.share, mirror.max)),
                route: Arc::new(share(mirrored(location, mirror.timeout), &mirror.share)),
                timeout: mirror.timeout,
            })
        });
        let split = location.split.as_ref().map(|split| RouteSplit {
            shares: Split::new(split.shares.iter().map(|share| share.share)),
            key: split.key.clone(),
            routes: (split.shares.iter())
                .map(|one| Arc::new(Route { mirror: mirror.clone(), ..share(location.clone(), one) }))
                .collect(),
        });
        let gates = zones.gates(location);
        Arc::new(Route { gates, split, mirror, ..plain(location.clone(), group, group_name) })
    };
    let paths = Paths::new(server.locations.iter().map(route));
    VirtualHost { name, client, redirect_to_https: server.redirect_to_https, hsts: server.hsts.clone(), paths }
}

/// A location as copies of its requests go by it: they are sent once, and to somebody who is not waited for long.
fn mirrored(location: &Location, timeout: Duration) -> Location {
    let mut location = location.clone();
    let proxy = &mut location.proxy;
    for limit in [&mut proxy.connect_timeout, &mut proxy.send_timeout, &mut proxy.read_timeout] {
        *limit = timeout.min(*limit);
    }
    proxy.next_upstream = NextUpstream::default();
    proxy.next_upstream_tries = 1;
    proxy.hedge_after = None;
    location
}

fn written(name: &ServerName) -> String {
    match name {
        ServerName::Exact(name) => name.clone(),
        ServerName::Suffix(suffix) => format!("*{suffix}"),
        ServerName::Prefix(prefix) => format!("{prefix}*"),
    }
}
