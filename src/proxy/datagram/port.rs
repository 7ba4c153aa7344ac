//! The socket of one worker for one address, and its sessions: what comes goes to the session of whoever sent it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::inbox::Inbox;
use super::session;
use crate::clock::Timestamp;
use crate::net::datagrams::LARGEST;
use crate::proxy::worker::Worker;

/// How long nothing more is said of it when there are too many sessions.
const SILENCE: Duration = Duration::from_secs(10);
/// How long nothing is taken when the system has no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that takes datagrams, with the sessions that came by it.
pub struct Port {
    /// As configured: what tells listeners apart.
    pub address: SocketAddr,
    socket: UdpSocket,
    sessions: RefCell<HashMap<SocketAddr, Rc<Inbox>>>,
    /// Where a datagram lies while it is passed on.
    buffer: RefCell<Box<[u8]>>,
    /// Bytes that its sessions keep.
    kept: Rc<Cell<usize>>,
    closed: Cell<bool>,
    said: Cell<Option<Timestamp>>,
    task: RefCell<Option<AbortHandle>>,
}

impl Port {
    /// Takes datagrams from now on.
    pub fn open(worker: &Rc<Worker>, socket: UdpSocket, address: SocketAddr) -> Rc<Port> {
        let port = Rc::new(Port {
            address,
            socket,
            sessions: RefCell::default(),
            buffer: RefCell::new(vec![0; LARGEST].into_boxed_slice()),
            kept: Rc::default(),
            closed: Cell::new(false),
            said: Cell::new(None),
            task: RefCell::default(),
        });
        let task = tokio::task::spawn_local(Rc::clone(&port).receive(Rc::clone(worker)));
        *port.task.borrow_mut() = Some(task.abort_handle());
        port
    }

    /// Takes nothing any more. The sessions, once they are woken, end.
    pub fn close(&self) {
        self.closed.set(true);
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }

    /// Whether it takes nothing any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Where a session reads to: never held across a wait.
    pub fn buffer(&self) -> &RefCell<Box<[u8]>> {
        &self.buffer
    }

    /// Sends to a client, from the address it has sent to. What the system has no room for is lost, as datagrams are.
    pub fn reply(&self, client: SocketAddr, datagram: &[u8]) {
        let _ = SockRef::from(&self.socket).send_to(datagram, &client.into());
    }

    /// The next datagram of this client begins another session.
    pub fn forget(&self, client: SocketAddr, inbox: &Rc<Inbox>) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(&client).is_some_and(|known| Rc::ptr_eq(known, inbox)) {
            sessions.remove(&client);
        }
    }

    async fn receive(self: Rc<Self>, worker: Rc<Worker>) {
        loop {
            let error = poll_fn(|cx| self.drain(cx, &worker)).await;
            tracing::error!("cannot take datagrams on {}: {error}", self.address);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Passes on all that has come. Ready with an error of the socket.
    fn drain(self: &Rc<Self>, cx: &mut Context<'_>, worker: &Rc<Worker>) -> Poll<io::Error> {
        loop {
            let mut buffer = self.buffer.borrow_mut();
            let mut read = ReadBuf::new(&mut buffer);
            match self.socket.poll_recv_from(cx, &mut read) {
                Poll::Ready(Ok(client)) => self.take(worker, client, read.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(self: &Rc<Self>, worker: &Rc<Worker>, client: SocketAddr, datagram: &[u8]) {
        let now = worker.clock.now();
        let known = self.sessions.borrow().get(&client).cloned();
        if let Some(inbox) = known {
            inbox.take(datagram, now);
            if inbox.is_full() {
                self.forget(client, &inbox);
            }
            return;
        }
        // None: a reload has just removed it.
        let Some(route) = worker.with(|topology| topology.datagrams(self.address).cloned()) else { return };
        if self.sessions.borrow().len() >= route.proxy.max_sessions {
            return self.complain(now, route.proxy.max_sessions);
        }
        let seat = worker.seat();
        let inbox = Rc::new(Inbox::new(Rc::clone(&seat.slot), &route.proxy, Rc::clone(&self.kept), now));
        inbox.take(datagram, now);
        if !inbox.is_full() {
            self.sessions.borrow_mut().insert(client, Rc::clone(&inbox));
        }
        tokio::task::spawn_local(session::serve(seat, Rc::clone(self), inbox, client, route));
    }

    fn complain(&self, now: Timestamp, most: usize) {
        if self.said.get().is_none_or(|said| now.since(said) >= SILENCE) {
            tracing::warn!("{}: {most} sessions of datagrams (max_sessions): others are dropped", self.address);
            self.said.set(Some(now));
        }
    }
}
