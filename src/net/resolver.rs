//! Which addresses does this name have? Control plane only; never `getaddrinfo`, which blocks and breaks a static
//! binary.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Asks DNS servers, after /etc/hosts.
pub struct Resolver {}

/// What a name resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has these addresses.
    Found {
        /// At least one, in order, each once.
        addrs: Vec<IpAddr>,
        /// How long until it should be asked again.
        valid: Duration,
    },
    /// The servers say that there is no such name, or that it has no address.
    NoSuchName,
    /// Nobody could say: silence, SERVFAIL, no server. What was known before still holds.
    Failed(String),
}

impl Resolver {
    /// Asks `servers`, or those of /etc/resolv.conf if there are none. `valid` overrides the TTL of answers. Never
    /// fails: without any server to ask, names that are not in /etc/hosts are [`Answer::Failed`]. Must be made and
    /// used within one tokio runtime.
    pub fn new(_servers: &[SocketAddr], _valid: Option<Duration>) -> Resolver {
        todo!()
    }

    /// Asks for A and AAAA. Takes at most a few seconds. `host` may be an address in text.
    pub async fn resolve(&self, _host: &str) -> Answer {
        todo!()
    }
}
