//! Which location answers this request? Listener, then server name, then path.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::model::{ClientLimits, Config, Listen, Location, Server, ServerName};
use crate::id::GroupId;

mod hosts;
mod paths;

use hosts::Names;
use paths::Paths;

/// One address to listen on, and who answers there.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The address as configured (port 0 stays 0): what tells listeners apart across snapshots.
    pub address: SocketAddr,
    /// The servers that listen there.
    pub hosts: Arc<VirtualHosts>,
}

/// The servers of one listener, found by name. (nginx: `ngx_http_find_virtual_server`)
#[derive(Debug)]
pub struct VirtualHosts {
    names: Names,
    servers: Vec<Arc<VirtualHost>>,
    default: usize,
}

/// One `[[server]]` as seen from a listener.
#[derive(Debug)]
pub struct VirtualHost {
    /// `$server_name`: the first name as written; empty if it has none.
    pub name: Arc<str>,
    /// What its clients may send, and how long they may take.
    pub client: Arc<ClientLimits>,
    paths: Paths,
}

/// A location with everything that a request needs of it, behind one `Arc`. A request takes its route once and keeps
/// it whatever is reloaded meanwhile.
#[derive(Debug)]
pub struct Route {
    /// Where its peers come from: `Topology::group`.
    pub group: GroupId,
    /// That group's name, for logs.
    pub group_name: Arc<str>,
    /// `$server_name`.
    pub server_name: Arc<str>,
    /// The location as configured.
    pub location: Location,
    /// What clients of the server may send, and how long they may take.
    pub client: Arc<ClientLimits>,
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
pub(super) fn listeners(config: &Config, groups: &[(GroupId, Arc<str>)]) -> Vec<ListenerSpec> {
    // A server is one thing, whatever number of addresses it listens on.
    let servers: Vec<Arc<VirtualHost>> = config.servers.iter().map(|s| Arc::new(virtual_host(s, groups))).collect();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for listen in config.servers.iter().flat_map(|server| &server.listen) {
        if !addresses.contains(&listen.address) {
            addresses.push(listen.address);
        }
    }
    let spec = |address| ListenerSpec { address, hosts: Arc::new(hosts_of(address, config, &servers)) };
    addresses.into_iter().map(spec).collect()
}

fn hosts_of(address: SocketAddr, config: &Config, all: &[Arc<VirtualHost>]) -> VirtualHosts {
    let mut names = Names::default();
    let mut servers = Vec::new();
    let mut default = None;
    for (server, host) in config.servers.iter().zip(all) {
        let mut here = server.listen.iter().filter(|listen| listen.address == address).peekable();
        if here.peek().is_none() {
            continue;
        }
        let index = servers.len();
        servers.push(host.clone());
        server.server_name.iter().for_each(|name| names.insert(name, index));
        if here.any(|listen: &Listen| listen.default_server) {
            default.get_or_insert(index);
        }
    }
    VirtualHosts { names, servers, default: default.unwrap_or(0) }
}

fn virtual_host(server: &Server, groups: &[(GroupId, Arc<str>)]) -> VirtualHost {
    let name: Arc<str> = server.server_name.first().map(written).unwrap_or_default().into();
    let client = Arc::new(server.client.clone());
    let route = |location: &Location| {
        // A checked configuration refers to its own upstreams only.
        let (group, group_name) = groups[location.upstream].clone();
        let (location, server_name, client) = (location.clone(), name.clone(), client.clone());
        Arc::new(Route { group, group_name, server_name, location, client })
    };
    let paths = Paths::new(server.locations.iter().map(route));
    VirtualHost { name, client, paths }
}

fn written(name: &ServerName) -> String {
    match name {
        ServerName::Exact(name) => name.clone(),
        ServerName::Suffix(suffix) => format!("*{suffix}"),
        ServerName::Prefix(prefix) => format!("{prefix}*"),
    }
}
