//! Where is a server, and what is it good for? The checked form of an entry of `servers`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One entry of `servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// As written, after `${…}` were filled in: the peer's name in logs and on the hash ring.
    pub text: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// `weight`, at least 1.
    pub weight: u32,
    /// `max_conns`; 0 is unlimited.
    pub max_conns: u32,
    /// `max_fails`; 0: failures are not counted.
    pub max_fails: u32,
    /// `fail_timeout`.
    pub fail_timeout: Duration,
    /// `slow_start`; zero is off.
    pub slow_start: Duration,
    /// `backup`.
    pub backup: bool,
    /// `down`.
    pub down: bool,
    /// `drain`.
    pub drain: bool,
    /// `route`: what `sticky = { route = … }` knows it by.
    pub route: Option<Arc<str>>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A literal address.
    Ip(SocketAddr),
    /// `unix:/path`: a unix socket of this machine.
    Unix(Arc<Path>),
    /// A name to resolve at run time; each of its addresses is a peer.
    Name {
        /// The name, lower case.
        host: String,
        /// The port.
        port: u16,
    },
    /// SRV records to ask for at run time; each address of each target is a peer. (RFC 2782)
    Service {
        /// The whole name that is asked for, lower case: `_http._tcp.app`.
        name: String,
    },
}
