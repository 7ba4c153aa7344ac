//! Sockets to listen on: one per worker and address, which the kernel balances between (SO_REUSEPORT).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// The listening sockets of one address, one for each worker.
#[derive(Debug)]
pub struct Listeners {
    /// The address with its real port.
    pub address: SocketAddr,
    /// One socket per worker.
    pub sockets: Vec<TcpListener>,
}

/// Binds `address` for `workers` workers. Port 0 takes a free port, the same for all.
///
/// Binds once without SO_REUSEPORT first, to find out that the port is free: with that option alone a second weir
/// would silently share it.
///
/// # Errors
/// What the kernel says: in use, not permitted, not an address of this machine.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Listeners> {
    let address = {
        let scout = socket(address, false)?;
        local_addr(&scout)?
    };
    let sockets = (0..workers)
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(TcpListener::from(socket))
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok(Listeners { address, sockets })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_listens_on_is_an_error_even_if_it_shares() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(first.sockets.len(), 2);
        let second = bind(first.address, 2);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
