//! Where does somebody listen, and where does a client come from? Over IP, or over a unix socket of this machine.

use std::fmt;
use std::io;
use std::net::{AddrParseError, IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Where somebody listens: a peer, or weir itself. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// An address and a port.
    Ip(SocketAddr),
    /// The path of a unix socket.
    Unix(Arc<Path>),
}

impl Endpoint {
    /// The address; `None` for a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Endpoint::Ip(address) => Some(address.ip()),
            Endpoint::Unix(_) => None,
        }
    }

    /// The port; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Endpoint::Ip(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::Ip(address)
    }
}

/// As nginx writes it: `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As [`Display`](fmt::Display) writes it.
impl FromStr for Endpoint {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Endpoint, AddrParseError> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Endpoint::Unix(Path::new(path).into())),
            None => text.parse().map(Endpoint::Ip),
        }
    }
}

/// What a process listens on: connections and datagrams of one address have nothing to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Connections.
    Connections(Endpoint),
    /// Datagrams (UDP).
    Datagrams(SocketAddr),
}

/// `127.0.0.1:80`, `unix:/run/weir.sock`, `udp://127.0.0.1:53`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Connections(endpoint) => endpoint.fmt(f),
            Place::Datagrams(address) => write!(f, "udp://{address}"),
        }
    }
}

/// As [`Display`](fmt::Display) writes it.
impl FromStr for Place {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Place, AddrParseError> {
        match text.strip_prefix("udp://") {
            Some(address) => address.parse().map(Place::Datagrams),
            None => text.parse().map(Place::Connections),
        }
    }
}

/// A socket that listens at an endpoint, on its way to a worker.
#[derive(Debug)]
pub enum ListenSocket {
    /// On an address of IP.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl ListenSocket {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// This process has no room for more descriptors.
    pub fn try_clone(&self) -> io::Result<ListenSocket> {
        match self {
            ListenSocket::Tcp(socket) => socket.try_clone().map(ListenSocket::Tcp),
            ListenSocket::Unix(socket) => socket.try_clone().map(ListenSocket::Unix),
        }
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListenSocket::Tcp(socket) => socket.as_fd(),
            ListenSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddr {
    /// An address; the port is 0 if only the address is known.
    Ip(SocketAddr),
    /// A program on this machine, over a unix socket: it has no address.
    Unix,
}

impl ClientAddr {
    /// The address; `None` for a unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            ClientAddr::Ip(address) => Some(address.ip()),
            ClientAddr::Unix => None,
        }
    }

    /// The port; `None` for a unix socket.
    pub fn port(self) -> Option<u16> {
        match self {
            ClientAddr::Ip(address) => Some(address.port()),
            ClientAddr::Unix => None,
        }
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(address: SocketAddr) -> ClientAddr {
        ClientAddr::Ip(address)
    }
}

/// As nginx writes it: `127.0.0.1:4711`, `[::1]:4711`, `unix:`.
impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddr::Ip(address) => address.fmt(f),
            ClientAddr::Unix => f.write_str("unix:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_nginx_writes_them() {
        let ip: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(Endpoint::Ip(ip).to_string(), "[::1]:80");
        assert_eq!(Endpoint::Unix(Path::new("/run/app.sock").into()).to_string(), "unix:/run/app.sock");
        assert_eq!(ClientAddr::Ip(ip).to_string(), "[::1]:80");
        assert_eq!(ClientAddr::Unix.to_string(), "unix:");
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["127.0.0.1:80", "[::]:443", "unix:/run/weir.sock", "udp://127.0.0.1:53", "udp://[::1]:53"] {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()).as_deref(), Ok(text));
        }
        assert!("udp://unix:/x".parse::<Place>().is_err());
        assert!("localhost:80".parse::<Place>().is_err());
    }
}
