//! Sockets to listen on. Of an address of IP each worker has its own, which the kernel balances between
//! (SO_REUSEPORT); of a unix socket all workers share the one there is.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Stream;
use super::held::{Holding, duplicates};
use super::inherited::{Lot, deal};
use super::socket_file::SocketFile;
use crate::endpoint::{ClientAddr, Endpoint, ListenSocket, Place};

/// How many connections may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// The listening sockets of one address.
#[derive(Debug)]
pub struct Listeners {
    /// The address with its real port.
    pub address: Endpoint,
    /// Each with the worker that it is for. Every worker has one at least.
    pub sockets: Vec<(usize, ListenSocket)>,
    /// Duplicates; of a unix socket its file, which goes when this is dropped.
    pub holding: Holding,
}

/// Binds `address` for `workers` workers. Port 0 takes a free port, the same for all. `mode` is that of a unix socket's
/// file.
///
/// A port is bound once without SO_REUSEPORT first, to find out that it is free: with that option alone a second weir
/// would silently share it.
///
/// # Errors
/// What the kernel says: in use, not permitted, not an address of this machine. See also [`SocketFile::listen`].
pub fn bind(address: &Endpoint, mode: u32, workers: usize) -> io::Result<Listeners> {
    match address {
        Endpoint::Ip(address) => bind_tcp(*address, workers),
        Endpoint::Unix(path) => {
            let (socket, file) = SocketFile::listen(path, mode, BACKLOG)?;
            dealt(address.clone(), vec![ListenSocket::Unix(socket)], Some(file), workers)
        }
    }
}

/// Uses sockets that somebody else has bound, all of them.
///
/// # Errors
/// This process has no room for more descriptors, or these are for datagrams.
pub fn adopt(lot: Lot, workers: usize) -> io::Result<Listeners> {
    let Place::Connections(address) = lot.real else { return Err(io::ErrorKind::InvalidInput.into()) };
    let file = match (&address, lot.file) {
        (Endpoint::Unix(path), Some(id)) => Some(SocketFile::of_another(path, id)),
        _ => None,
    };
    let kind = |socket| match address {
        Endpoint::Ip(_) => ListenSocket::Tcp(std::net::TcpListener::from(socket)),
        Endpoint::Unix(_) => ListenSocket::Unix(std::os::unix::net::UnixListener::from(socket)),
    };
    let sockets = lot.sockets.into_iter().map(kind).collect();
    dealt(address, sockets, file, workers)
}

/// Deals out sockets to workers, and keeps a duplicate of each.
fn dealt(
    address: Endpoint,
    held: Vec<ListenSocket>,
    file: Option<SocketFile>,
    workers: usize,
) -> io::Result<Listeners> {
    let pairs = deal(held.len(), workers, false).into_iter();
    let sockets = pairs.map(|(worker, socket)| Ok((worker, held[socket].try_clone()?)));
    let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
    let holding = Holding { sockets: duplicates(&held)?, file };
    Ok(Listeners { address, sockets, holding })
}

fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Listeners> {
    let address = {
        let scout = bound(address, Type::STREAM, false)?;
        // Two sockets may be bound to one port as long as neither listens; this one finds out.
        scout.listen(1)?;
        local_addr(&scout)?
    };
    let sockets = (0..workers)
        .map(|_| {
            let socket = bound(address, Type::STREAM, true)?;
            socket.listen(BACKLOG)?;
            Ok(ListenSocket::Tcp(socket.into()))
        })
        .collect::<io::Result<Vec<_>>>()?;
    dealt(address.into(), sockets, None, workers)
}

/// A socket of TCP or UDP (`kind`) that is bound to `address`.
pub(super) fn bound(address: SocketAddr, kind: Type, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_nonblocking(true)?;
    // Of datagrams it would let two processes have one port.
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// A listening socket in the hands of a worker.
#[derive(Debug)]
pub enum Listener {
    /// On an address of IP; `local`: what clients connect to, unless that is any address of this machine.
    Tcp {
        /// The socket.
        listener: TcpListener,
        /// Its address.
        local: Option<SocketAddr>,
    },
    /// On a path.
    Unix(UnixListener),
}

/// A client's connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// Where it comes from.
    pub remote: ClientAddr,
    /// What it was made to; `None`: a unix socket.
    pub local: Option<SocketAddr>,
}

impl Listener {
    /// Registers a socket with the runtime of this thread.
    ///
    /// # Errors
    /// If the kernel has no room for it.
    pub fn new(socket: ListenSocket) -> io::Result<Listener> {
        match socket {
            ListenSocket::Tcp(socket) => {
                // Whoever is accepted inherits it, and need not be asked (Linux: net/ipv4/tcp_minisocks.c).
                SockRef::from(&socket).set_tcp_nodelay(true)?;
                let local = socket.local_addr().ok().filter(|address| !address.ip().is_unspecified());
                Ok(Listener::Tcp { listener: TcpListener::from_std(socket)?, local })
            }
            ListenSocket::Unix(socket) => UnixListener::from_std(socket).map(Listener::Unix),
        }
    }

    /// The next connection.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Listener::Tcp { listener, .. } => listener.poll_accept(cx).map_ok(|(tcp, remote)| self.tcp(tcp, remote)),
            Listener::Unix(listener) => listener.poll_accept(cx).map_ok(|(unix, _)| Accepted::unix(unix)),
        }
    }

    /// A connection that waits already; `None`: none does. The system call itself: tokio's way may pause in the midst,
    /// for fairness.
    pub fn accept_now(&self) -> Option<io::Result<Accepted>> {
        let accepted = match self {
            Listener::Tcp { listener, .. } => SockRef::from(listener).accept(),
            Listener::Unix(listener) => SockRef::from(listener).accept(),
        };
        accepted.ok().map(|(socket, remote)| self.received(socket, &remote))
    }

    fn received(&self, socket: Socket, remote: &SockAddr) -> io::Result<Accepted> {
        socket.set_nonblocking(true)?;
        match remote.as_socket() {
            Some(remote) => Ok(self.tcp(TcpStream::from_std(socket.into())?, remote)),
            None => Ok(Accepted::unix(UnixStream::from_std(socket.into())?)),
        }
    }

    fn tcp(&self, tcp: TcpStream, remote: SocketAddr) -> Accepted {
        let known = match self {
            Listener::Tcp { local, .. } => *local,
            Listener::Unix(_) => None,
        };
        let stream = Stream::new(tcp);
        let local = known.or_else(|| stream.local_addr());
        Accepted { stream, remote: ClientAddr::Ip(remote), local }
    }
}

impl Accepted {
    fn unix(unix: UnixStream) -> Accepted {
        Accepted { stream: Stream::unix(unix), remote: ClientAddr::Unix, local: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_listens_on_is_an_error_even_if_it_shares() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = bind(&any.into(), 0, 2).unwrap();
        assert_eq!(first.sockets.len(), 2);
        let second = bind(&first.address, 0, 2);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn small_writes_of_whoever_is_accepted_go_out_at_once_and_he_knows_what_he_called() {
        for ip in ["127.0.0.1", "0.0.0.0"] {
            let mut bound = bind(&format!("{ip}:0").parse::<SocketAddr>().unwrap().into(), 0, 1).unwrap();
            let Endpoint::Ip(address) = bound.address else { panic!("a port") };
            let called = SocketAddr::from(([127, 0, 0, 1], address.port()));
            let listener = Listener::new(bound.sockets.remove(0).1).unwrap();
            let _client = std::net::TcpStream::connect(called).unwrap();
            let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            assert_eq!(accepted.local, Some(called), "{ip}");
            assert!(accepted.stream.tcp().unwrap().nodelay().unwrap(), "{ip}");
        }
    }

    #[test]
    fn sockets_of_another_process_are_all_used_however_many_workers_there_are() {
        for workers in [1, 2, 3] {
            let first = bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into(), 0, 2).unwrap();
            let lot = Lot::new(None, first.holding.sockets, None).unwrap();
            let second = adopt(lot, workers).unwrap();
            assert_eq!(second.address, first.address);
            assert_eq!(second.holding.sockets.len(), 2);
            assert_eq!(second.sockets.len(), workers.max(2));
        }
    }
}
