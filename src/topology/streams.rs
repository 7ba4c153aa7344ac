//! Which group takes what comes to this address, as it comes? Listener, and nothing else to go by.

use std::sync::Arc;

use crate::config::model::{Config, StreamSettings};
use crate::endpoint::Endpoint;
use crate::id::GroupId;
use crate::tls::Acceptor;

/// One address of a `[[stream]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// The address as configured (port 0 stays 0): what tells listeners apart across snapshots.
    pub address: Endpoint,
    /// Where it leads.
    pub route: Arc<StreamRoute>,
}

/// An address of a `[[stream]]` with everything that a session needs of it. A session takes it once and keeps it whatever is reloaded
/// meanwhile.
#[derive(Debug, PartialEq)]
pub struct StreamRoute {
    /// Where its peers come from: `Topology::group`.
    pub group: GroupId,
    /// That group's name, for logs.
    pub group_name: Arc<str>,
    /// How sessions are served.
    pub proxy: StreamSettings,
    /// The address as configured.
    pub listener: Endpoint,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// Each connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Clients speak TLS; `None`: what they say is passed on as it is.
    pub acceptor: Option<Arc<Acceptor>>,
}

/// The addresses of all streams, in the order of the file. `groups[i]` is the group of `config.upstreams[i]`.
pub(super) fn streams(config: &Config, groups: &[(GroupId, Arc<str>)]) -> Vec<StreamSpec> {
    let mut specs = Vec::new();
    for stream in &config.streams {
        // A checked configuration refers to its own upstreams only.
        let (group, group_name) = groups[stream.upstream].clone();
        specs.extend(stream.listen.iter().map(|listen| StreamSpec {
            address: listen.address.clone(),
            route: Arc::new(StreamRoute {
                group,
                group_name: Arc::clone(&group_name),
                proxy: stream.proxy.clone(),
                listener: listen.address.clone(),
                udp: listen.udp,
                proxy_protocol: listen.proxy_protocol,
                acceptor: listen.tls.as_ref().map(|acceptor| Arc::new(acceptor.without_alpn())),
            }),
        }));
    }
    specs
}
