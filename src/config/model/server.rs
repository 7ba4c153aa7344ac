//! Where do clients connect, and which names do they ask for? The checked form of `[[server]]`.

use std::sync::Arc;

use super::client::ClientLimits;
use super::location::Location;
use crate::endpoint::Endpoint;
use crate::tls::Acceptor;

/// `[[server]]`: a virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `listen`, at least one.
    pub listen: Vec<Listen>,
    /// `server_name`; empty: any.
    pub server_name: Vec<ServerName>,
    /// `[[server.location]]`, in the order of the file.
    pub locations: Vec<Location>,
    /// Limits on what a client may send and how long it may take.
    pub client: ClientLimits,
    /// `redirect_to_https`: requests that come without TLS are sent to this port.
    pub redirect_to_https: Option<u16>,
    /// `hsts`: the value of Strict-Transport-Security on answers over TLS.
    pub hsts: Option<Arc<str>>,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; `listen = 80` is `0.0.0.0:80`.
    pub address: Endpoint,
    /// `default_server`: answers for names that no server has. Without it the first server of an address does.
    pub default_server: bool,
    /// `h2c`: clients may begin with HTTP/2 at once.
    pub h2c: bool,
    /// `mode` of a unix socket's file: who may connect.
    pub mode: u32,
    /// `proxy_protocol`: every connection begins with a PROXY header, from `trusted_proxies` alone.
    pub proxy_protocol: bool,
    /// `tls`; `None`: what another server of the same address has, if one has it.
    pub tls: Option<Arc<Acceptor>>,
    /// `udp`: datagrams, of a `[[stream]]`; then the address is one of IP.
    pub udp: bool,
}

/// Who may connect to a unix socket: as in nginx, whoever may enter its folder.
const DEFAULT_MODE: u32 = 0o666;

impl Listen {
    /// An address with nothing else said of it.
    pub fn on(address: impl Into<Endpoint>) -> Listen {
        Listen {
            address: address.into(),
            default_server: false,
            h2c: false,
            mode: DEFAULT_MODE,
            proxy_protocol: false,
            tls: None,
            udp: false,
        }
    }
}

/// One `server_name`, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// `example.com`.
    Exact(String),
    /// `*.example.org`: holds `.example.org`.
    Suffix(String),
    /// `www.example.*`: holds `www.example.`.
    Prefix(String),
}
