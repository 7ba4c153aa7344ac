//! Sockets for datagrams: one per worker and address. The kernel keeps a client on one of them (SO_REUSEPORT hashes both
//! addresses), so a session lives on one worker.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::Type;

use super::held::{Holding, duplicates};
use super::inherited::{Lot, deal};
use super::listener::bound;
use crate::endpoint::Place;

/// The largest datagram of UDP, in bytes.
pub const LARGEST: usize = 64 * 1024;

/// The sockets of one address.
#[derive(Debug)]
pub struct Datagrams {
    /// The address with its real port.
    pub address: SocketAddr,
    /// Each with the one worker that it is for.
    pub sockets: Vec<(usize, UdpSocket)>,
    /// Duplicates.
    pub holding: Holding,
}

/// Binds `address` for `workers` workers. Port 0 takes a free port, the same for all. As with
/// [`listener::bind`](super::listener::bind), a port that somebody else has is an error, not shared.
///
/// # Errors
/// What the kernel says: in use, not permitted, not an address of this machine.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Datagrams> {
    let address = {
        let scout = UdpSocket::from(bound(address, Type::DGRAM, false)?);
        scout.local_addr()?
    };
    let socket = |_| bound(address, Type::DGRAM, true).map(UdpSocket::from);
    let sockets = (0..workers).map(socket).collect::<io::Result<Vec<_>>>()?;
    dealt(address, &sockets, workers)
}

/// Uses sockets that somebody else has bound, all of them. Where there are fewer than workers, those that have none take no
/// datagrams: sharing one would tear a client's session apart.
///
/// # Errors
/// This process has no room for more descriptors, or these are for connections.
pub fn adopt(lot: Lot, workers: usize) -> io::Result<Datagrams> {
    let Place::Datagrams(address) = lot.real else { return Err(io::ErrorKind::InvalidInput.into()) };
    let sockets: Vec<UdpSocket> = lot.sockets.into_iter().map(UdpSocket::from).collect();
    dealt(address, &sockets, workers)
}

/// Deals out sockets to workers, and keeps a duplicate of each.
fn dealt(address: SocketAddr, held: &[UdpSocket], workers: usize) -> io::Result<Datagrams> {
    let pairs = deal(held.len(), workers, true).into_iter();
    let sockets = pairs.map(|(worker, socket)| Ok((worker, held[socket].try_clone()?)));
    let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
    Ok(Datagrams { address, sockets, holding: Holding { sockets: duplicates(held)?, file: None } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_has_is_an_error_even_if_it_shares() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(first.sockets.len(), 2);
        let second = bind(first.address, 2);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
