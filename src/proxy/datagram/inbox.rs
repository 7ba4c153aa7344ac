//! Where do a client's datagrams go? To its peer at once; before there is one, and until it has answered, they are kept.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use socket2::SockRef;
use tokio::net::UdpSocket;

use crate::clock::Timestamp;
use crate::config::model::StreamSettings;
use crate::proxy::worker::Slot;

/// Datagrams that a session keeps.
const KEPT: usize = 8;
/// Bytes in them, unless it is a single one.
const KEPT_BYTES: usize = 8 * 1024;
/// Bytes that all sessions of a port keep: beyond, datagrams are sent once or not at all.
const KEPT_BY_ALL: usize = 16 * 1024 * 1024;

/// The beginning of a session's path, in the hands of its port and of itself.
#[derive(Debug)]
pub struct Inbox {
    slot: Rc<Slot>,
    to: RefCell<To>,
    /// Datagrams of the client.
    pub requests: Cell<u64>,
    /// Bytes in them.
    pub received: Cell<u64>,
    /// When the latest came.
    pub latest: Cell<Timestamp>,
    error: RefCell<Option<io::Error>>,
    /// Datagrams that belong to the session; 0: any number.
    most: u64,
    /// The session ends by a count of datagrams, and so must hear of each.
    counts: bool,
}

#[derive(Debug)]
struct To {
    peer: Option<Rc<UdpSocket>>,
    kept: Kept,
    /// Whether what was sent is kept as well: no answer has come.
    keeps: bool,
}

impl Inbox {
    /// Nobody to send to yet.
    pub fn new(slot: Rc<Slot>, proxy: &StreamSettings, by_all: Rc<Cell<usize>>, now: Timestamp) -> Inbox {
        let kept = Kept { datagrams: VecDeque::new(), bytes: 0, by_all };
        Inbox {
            slot,
            to: RefCell::new(To { peer: None, kept, keeps: false }),
            requests: Cell::new(0),
            received: Cell::new(0),
            latest: Cell::new(now),
            error: RefCell::default(),
            most: proxy.requests,
            counts: proxy.responses == Some(0) || proxy.requests > 0,
        }
    }

    /// Whether the client's next datagram belongs to another session.
    pub fn is_full(&self) -> bool {
        self.most > 0 && self.requests.get() >= self.most
    }

    /// Takes a datagram of the client. What the system has no room for is lost, as datagrams are.
    pub fn take(&self, datagram: &[u8], now: Timestamp) {
        self.requests.set(self.requests.get() + 1);
        self.received.set(self.received.get() + datagram.len() as u64);
        self.latest.set(now);
        let mut to = self.to.borrow_mut();
        match to.peer.as_ref().map(|peer| send(peer, datagram)) {
            None => to.kept.push(datagram),
            Some(Ok(())) if to.keeps => to.kept.push(datagram),
            Some(Ok(())) => {}
            Some(Err(error)) => {
                // The system says so instead of sending this one: it goes to the next peer.
                to.peer = None;
                to.kept.push(datagram);
                *self.error.borrow_mut() = Some(error);
                self.slot.wake();
            }
        }
        if self.counts {
            self.slot.wake();
        }
    }

    /// From now on all goes to this peer, and first what was kept. `keeps`: until [`Inbox::answered`] it is kept for
    /// another one.
    ///
    /// # Errors
    /// The peer cannot be sent to. Nothing is lost.
    pub fn connect(&self, peer: Rc<UdpSocket>, keeps: bool) -> io::Result<()> {
        let mut to = self.to.borrow_mut();
        to.kept.datagrams.iter().try_for_each(|datagram| send(&peer, datagram))?;
        if !keeps {
            to.kept.clear();
        }
        (to.peer, to.keeps) = (Some(peer), keeps);
        Ok(())
    }

    /// The peer is no more. What comes is kept for the next. Whether there is something to send again.
    pub fn disconnect(&self) -> bool {
        let mut to = self.to.borrow_mut();
        to.peer = None;
        !to.kept.datagrams.is_empty()
    }

    /// The peer has answered: what was sent is not needed again.
    pub fn answered(&self) {
        let mut to = self.to.borrow_mut();
        if to.keeps {
            to.keeps = false;
            to.kept.clear();
        }
    }

    /// Why the peer could not be sent to.
    pub fn error(&self) -> Option<io::Error> {
        self.error.borrow_mut().take()
    }
}

/// Datagrams that may have to be sent again.
#[derive(Debug)]
struct Kept {
    datagrams: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Bytes that the sessions of the port keep, together.
    by_all: Rc<Cell<usize>>,
}

impl Kept {
    fn push(&mut self, datagram: &[u8]) {
        let first = self.datagrams.is_empty();
        let fits = first || (self.datagrams.len() < KEPT && self.bytes + datagram.len() <= KEPT_BYTES);
        if fits && self.by_all.get() + datagram.len() <= KEPT_BY_ALL {
            self.datagrams.push_back(datagram.to_vec());
            self.bytes += datagram.len();
            self.by_all.set(self.by_all.get() + datagram.len());
        }
    }

    fn clear(&mut self) {
        self.by_all.set(self.by_all.get() - self.bytes);
        self.bytes = 0;
        self.datagrams = VecDeque::new();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One system call, whatever the event loop has heard of the socket: a datagram is never waited with.
fn send(peer: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    const EMSGSIZE: i32 = 90;
    const ENOBUFS: i32 = 105;
    match SockRef::from(peer).send(datagram) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        // Too large for the way there, or no room on this machine: nobody's fault.
        Err(error) if matches!(error.raw_os_error(), Some(EMSGSIZE | ENOBUFS)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(by_all: &Rc<Cell<usize>>, lengths: &[usize]) -> Kept {
        let mut kept = Kept { datagrams: VecDeque::new(), bytes: 0, by_all: Rc::clone(by_all) };
        lengths.iter().for_each(|length| kept.push(&vec![0; *length]));
        kept
    }

    fn kept(lengths: &[usize]) -> Vec<usize> {
        keeping(&Rc::default(), lengths).datagrams.iter().map(Vec::len).collect()
    }

    #[test]
    fn a_few_datagrams_are_kept_and_a_single_one_of_any_size() {
        assert_eq!(kept(&[100, 200]), [100, 200]);
        assert_eq!(kept(&[60_000, 1]), [60_000]);
        assert_eq!(kept(&[5_000, 5_000, 3_000]), [5_000, 3_000]);
        assert_eq!(kept(&[1; 20]), [1; 8]);
    }

    #[test]
    fn all_sessions_together_keep_no_more_than_a_bound_and_give_it_back() {
        let by_all = Rc::new(Cell::new(KEPT_BY_ALL - 100));
        let first = keeping(&by_all, &[60, 60]);
        assert_eq!(first.datagrams.len(), 1);
        drop(first);
        assert_eq!(by_all.get(), KEPT_BY_ALL - 100);
    }
}
