//! Sockets to listen on. Of an address of IP each worker has its own, which the kernel balances between
//! (SO_REUSEPORT); of a unix socket all workers share the one there is.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

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
        let scout = socket(address, false)?;
        local_addr(&scout)?
    };
    let sockets = (0..workers)
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(ListenSocket::Tcp(socket.into()))
        })
        .collect::<io::Result<Vec<_>>>()?;
    dealt(address.into(), sockets, None, workers)
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    if !reuse_port {
        // Two sockets may be bound to one port as long as neither listens; this one finds out.
        socket.listen(1)?;
    }
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// A listening socket in the hands of a worker.
#[derive(Debug)]
pub enum Listener {
    /// On an address of IP.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

impl Listener {
    /// Registers a socket with the runtime of this thread.
    ///
    /// # Errors
    /// If the kernel has no room for it.
    pub fn new(socket: ListenSocket) -> io::Result<Listener> {
        match socket {
            ListenSocket::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
            ListenSocket::Unix(socket) => UnixListener::from_std(socket).map(Listener::Unix),
        }
    }

    /// The next connection, and where it comes from.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, ClientAddr)>> {
        match self {
            Listener::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(tcp, remote)| (Stream::new(tcp), ClientAddr::Ip(remote)))
            }
            Listener::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(unix, _)| (Stream::unix(unix), ClientAddr::Unix))
            }
        }
    }

    /// A connection that waits already; `None`: none does. The system call itself: tokio's way may pause in the midst,
    /// for fairness.
    pub fn accept_now(&self) -> Option<io::Result<(Stream, ClientAddr)>> {
        let accepted = match self {
            Listener::Tcp(listener) => SockRef::from(listener).accept(),
            Listener::Unix(listener) => SockRef::from(listener).accept(),
        };
        accepted.ok().map(|(socket, remote)| received(socket, &remote))
    }
}

fn received(socket: Socket, remote: &SockAddr) -> io::Result<(Stream, ClientAddr)> {
    socket.set_nonblocking(true)?;
    match remote.as_socket() {
        Some(remote) => Ok((Stream::new(tokio::net::TcpStream::from_std(socket.into())?), remote.into())),
        None => Ok((Stream::unix(tokio::net::UnixStream::from_std(socket.into())?), ClientAddr::Unix)),
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
