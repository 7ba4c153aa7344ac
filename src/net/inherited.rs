//! Which sockets has somebody else bound for this process? The service manager (sd_listen_fds(3)), or the weir that ran
//! before. They are told apart by their addresses, and dealt out to the workers.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::{SockRef, Type};

use super::socket_file::FileId;
use crate::endpoint::{Endpoint, Place};

/// Sockets that wait for somebody who wants to listen there.
#[derive(Debug, Default)]
pub struct Inherited {
    lots: Vec<Lot>,
}

/// The sockets of one address.
#[derive(Debug)]
pub struct Lot {
    /// What whoever bound them calls it: the configured address, which may have port 0.
    pub place: Place,
    /// Where they really are.
    pub real: Place,
    /// One, or one for each worker of another process.
    pub sockets: Vec<OwnedFd>,
    /// Of a unix socket its file, if it is weir's.
    pub file: Option<FileId>,
}

impl Lot {
    /// Of these sockets, which are all bound to the same address.
    ///
    /// # Errors
    /// There is none, or it does not listen at an address that weir knows.
    pub fn new(place: Option<Place>, sockets: Vec<OwnedFd>, file: Option<FileId>) -> io::Result<Lot> {
        let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
        let real = place_of(&SockRef::from(first))?;
        for socket in &sockets {
            SockRef::from(socket).set_nonblocking(true)?;
        }
        Ok(Lot { place: place.unwrap_or_else(|| real.clone()), real, sockets, file })
    }
}

impl Inherited {
    /// What the service manager has opened, if it has started this very process (`LISTEN_PID`). What cannot be used is
    /// said, and left alone. To be called once, before there are threads.
    pub fn from_service_manager() -> Inherited {
        let mut inherited = Inherited::default();
        // Without `LISTEN_PID` they may be meant for another process.
        if std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
            return inherited;
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut given = ListenFd::from_env();
        for index in 0..given.len() {
            match claim(&mut given, index).and_then(|socket| Lot::new(None, vec![socket], None)) {
                Ok(lot) => {
                    let known = inherited.lots.iter_mut().find(|known| known.real == lot.real);
                    match known {
                        Some(known) => known.sockets.extend(lot.sockets),
                        None => inherited.lots.push(lot),
                    }
                }
                Err(error) => {
                    let name = names.get(index).copied().unwrap_or_default();
                    tracing::warn!("socket {index} of the service manager ({name:?}) cannot be used: {error}");
                }
            }
        }
        inherited
    }

    /// These, beside those that there are.
    pub fn extend(&mut self, lots: impl IntoIterator<Item = Lot>) {
        self.lots.extend(lots);
    }

    /// The sockets of this place: by what it is called, else by where it really is.
    pub fn take(&mut self, place: &Place) -> Option<Lot> {
        let called = self.lots.iter().position(|lot| lot.place == *place);
        let at = called.or_else(|| self.lots.iter().position(|lot| lot.real == *place))?;
        Some(self.lots.remove(at))
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.lots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// What nobody has taken.
    pub fn rest(self) -> Vec<Lot> {
        self.lots
    }
}

/// The socket, of whichever kind it is, closed in programs that this process starts.
fn claim(given: &mut ListenFd, index: usize) -> io::Result<OwnedFd> {
    if let Ok(Some(socket)) = given.take_tcp_listener(index) {
        return Ok(TcpListener::into(socket));
    }
    if let Ok(Some(socket)) = given.take_unix_listener(index) {
        return Ok(UnixListener::into(socket));
    }
    let socket = given.take_udp_socket(index)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(UdpSocket::into(socket))
}

/// What a socket listens to.
fn place_of(socket: &SockRef<'_>) -> io::Result<Place> {
    let unknown = || io::Error::new(io::ErrorKind::Unsupported, "it listens at no address that weir knows");
    let address = socket.local_addr()?;
    let stream = socket.r#type()? == Type::STREAM;
    if stream && !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it does not listen"));
    }
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) if stream => Ok(Place::Connections(Endpoint::Ip(address))),
        (Some(address), _) => Ok(Place::Datagrams(address)),
        (None, Some(path)) if stream => Ok(Place::Connections(Endpoint::Unix(path.into()))),
        _ => Err(unknown()),
    }
}

/// Who takes which of so many sockets: pairs of a worker and a socket. No socket is left without a worker, since closing
/// one would lose what waits in it. Where there are fewer than workers they are shared, unless `apart`: datagrams of one
/// client must come to one worker.
pub fn deal(sockets: usize, workers: usize, apart: bool) -> Vec<(usize, usize)> {
    if sockets == 0 || workers == 0 {
        return Vec::new();
    }
    let pairs = if apart { sockets } else { sockets.max(workers) };
    (0..pairs).map(|index| (index % workers, index % sockets)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket_unless_they_are_apart() {
        for (sockets, workers, apart, expected) in [
            (2, 2, false, vec![(0, 0), (1, 1)]),
            (4, 2, false, vec![(0, 0), (1, 1), (0, 2), (1, 3)]),
            (1, 3, false, vec![(0, 0), (1, 0), (2, 0)]),
            (2, 3, false, vec![(0, 0), (1, 1), (2, 0)]),
            (1, 3, true, vec![(0, 0)]),
            (3, 2, true, vec![(0, 0), (1, 1), (0, 2)]),
            (0, 2, false, vec![]),
        ] {
            assert_eq!(deal(sockets, workers, apart), expected, "{sockets} for {workers}");
        }
    }

    #[test]
    fn sockets_are_found_by_what_they_are_called_and_by_where_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let any: Place = "127.0.0.1:0".parse().expect("a place");
        let real = Place::Connections(address.into());
        let again = listener.try_clone().expect("room");

        let mut inherited = Inherited::default();
        inherited.extend([Lot::new(Some(any.clone()), vec![listener.into()], None).expect("it listens")]);
        assert_eq!(inherited.take(&any).map(|lot| lot.real), Some(real.clone()));
        assert!(inherited.take(&any).is_none());
        inherited.extend([Lot::new(None, vec![again.into()], None).expect("it listens")]);
        assert!(inherited.take(&Place::Datagrams(address)).is_none());
        assert!(inherited.take(&real).is_some());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(Lot::new(None, vec![one.into()], None).is_err());
        assert!(Lot::new(None, Vec::new(), None).is_err());
    }
}
