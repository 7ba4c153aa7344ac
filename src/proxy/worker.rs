//! One thread of the data plane: its connections, its pools, its view of the world. Nothing here is shared.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use socket2::{SockAddr, SockRef, Socket};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::clock::{Clock, Timestamp};
use crate::config::model::ClientLimits;
use crate::id::{GroupId, PeerId};
use crate::mailbox::{Command, Notice};
use crate::net::{Pools, Stream};
use crate::telemetry::WorkerLog;
use crate::topology::{Group, Live, Peer, Reader, Topology};

use super::http::{Spare, connection};

/// One worker.
pub struct Worker {
    /// The clock.
    pub clock: Clock,
    now: Cell<Timestamp>,
    /// Idle connections to peers.
    pub pools: RefCell<Pools>,
    /// Where finished requests are told.
    pub log: WorkerLog,
    /// Memory that busy connections use in turn.
    pub spare: RefCell<Spare>,
    topology: RefCell<Reader>,
    connections: RefCell<slab::Slab<Rc<Slot>>>,
    listening: RefCell<Vec<Listening>>,
    draining: Cell<bool>,
    serials: Arc<AtomicU64>,
    notices: mpsc::UnboundedSender<Notice>,
}

/// What the worker keeps of one client connection, to reach it.
#[derive(Debug, Default)]
pub struct Slot {
    waker: RefCell<Option<Waker>>,
    waits_for: Cell<Option<PeerId>>,
    abandoned: Cell<bool>,
}

impl Slot {
    /// Remembers who to wake. A task's waker does not change, so this is done once.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// From now on the connection waits for an answer of `peer`, or with `None` for nobody.
    pub fn wait_for(&self, peer: Option<PeerId>) {
        self.waits_for.set(peer);
        self.abandoned.set(false);
    }

    /// Whether the peer was found unreachable since [`Slot::wait_for`].
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// A socket that is listened on.
struct Listening {
    /// As configured: what tells listeners apart.
    address: SocketAddr,
    /// Its task accepts as long as this is here.
    socket: Rc<RefCell<Option<TcpListener>>>,
    task: tokio::task::AbortHandle,
}

/// A connection's place among the worker's, given back on drop.
pub struct Seat {
    /// Whose place it is.
    pub worker: Rc<Worker>,
    key: usize,
    /// The place.
    pub slot: Rc<Slot>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(self.key);
    }
}

impl Worker {
    /// A worker that sees `live`, logs to `log`, and tells the control plane through `notices`. `serials` numbers the
    /// connections of all workers.
    pub fn new(
        live: &Live,
        log: WorkerLog,
        serials: Arc<AtomicU64>,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Rc<Worker> {
        Rc::new(Worker {
            clock: Clock::process(),
            now: Cell::new(Clock::process().now()),
            pools: RefCell::default(),
            log,
            spare: RefCell::default(),
            topology: RefCell::new(live.reader()),
            connections: RefCell::default(),
            listening: RefCell::default(),
            draining: Cell::new(false),
            serials,
            notices,
        })
    }

    /// When the present turn of a connection's task began. A turn takes microseconds, and asking the clock at each step
    /// of it would cost more than some of the steps.
    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// A connection's task is polled: its waker is remembered, and it is now.
    pub fn begin_turn(&self, slot: &Slot, waker: &Waker) {
        self.now.set(self.clock.now());
        slot.register(waker);
    }

    /// Looks at the present snapshot.
    pub fn with<T>(&self, look: impl FnOnce(&Topology) -> T) -> T {
        look(self.topology.borrow_mut().topology())
    }

    /// A group of the present snapshot.
    pub fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        self.topology.borrow_mut().group(id)
    }

    /// The limits that hold on a listener until a request has told its host.
    pub fn client_limits(&self, listener: SocketAddr) -> Arc<ClientLimits> {
        let known =
            self.with(|topology| topology.listener(listener).map(|spec| spec.hosts.default_server().client.clone()));
        // A listener that a reload has removed: its connections live on under nginx's own limits.
        known.unwrap_or_default()
    }

    /// A connect to a peer failed: if it was found by a name, the name is asked for again.
    pub fn connect_failed(&self, peer: &Peer) {
        if let Some(host) = &peer.host {
            // Fails only when the control plane is gone, and everything with it.
            let _ = self.notices.send(Notice::ConnectFailed { host: Arc::clone(host) });
        }
    }

    /// Whether connections should end at the next opportunity.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A place for a new connection.
    fn seat(self: &Rc<Self>) -> Seat {
        let slot = Rc::new(Slot::default());
        let key = self.connections.borrow_mut().insert(Rc::clone(&slot));
        Seat { worker: Rc::clone(self), key, slot }
    }

    /// The next connection's serial number.
    pub fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// Obeys until drained: returns when told to drain (or when the control plane is gone) and no connection is left.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut sweep = tokio::time::interval(Duration::from_secs(1));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // One for all turns, so that a pause in it is not begun anew with each of them.
        let mut flushing = std::pin::pin!(self.log.flush_promptly());
        let mut commanded = true;
        loop {
            tokio::select! {
                command = commands.recv(), if commanded => {
                    commanded = command.is_some();
                    self.obey(command.unwrap_or(Command::Drain));
                }
                _ = sweep.tick() => self.pools.borrow_mut().sweep(self.clock.now()),
                () = &mut flushing => {}
                () = self.emptied(), if self.is_draining() => return,
            }
        }
    }

    async fn emptied(&self) {
        // Draining is rare and short: looking again is simpler than being told.
        while !self.connections.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen(socket, address) => match TcpListener::from_std(socket) {
                Ok(listener) => self.listen(listener, address),
                Err(error) => tracing::error!("cannot listen on {address}: {error}"),
            },
            Command::Unlisten(address) => self.unlisten(|listening| listening == address),
            Command::Abandon(peer) => self.abandon(peer),
            Command::Drain => {
                self.draining.set(true);
                self.unlisten(|_| true);
            }
        }
    }

    fn listen(self: &Rc<Self>, listener: TcpListener, address: SocketAddr) {
        let socket = Rc::new(RefCell::new(Some(listener)));
        let task = tokio::task::spawn_local(Rc::clone(self).accept(Rc::clone(&socket), address));
        self.listening.borrow_mut().push(Listening { address, socket, task: task.abort_handle() });
    }

    /// Closes listening sockets, after taking what had already connected: closing a socket resets its queue. Idle
    /// connections are told to look whether they should end.
    fn unlisten(self: &Rc<Self>, which: impl Fn(SocketAddr) -> bool) {
        self.listening.borrow_mut().retain(|listening| {
            if !which(listening.address) {
                return true;
            }
            listening.task.abort();
            if let Some(socket) = listening.socket.take() {
                // The system call itself: tokio's way may pause in the midst, for fairness.
                while let Ok((tcp, remote)) = SockRef::from(&socket).accept() {
                    self.welcome(tcp, remote, listening.address);
                }
            }
            false
        });
        for (_, slot) in self.connections.borrow().iter() {
            slot.wake();
        }
    }

    /// Serves a connection that was accepted at the last moment.
    fn welcome(self: &Rc<Self>, tcp: Socket, remote: SockAddr, listener: SocketAddr) {
        let tcp = std::net::TcpStream::from(tcp);
        let taken = tcp.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(tcp));
        match (taken, remote.as_socket()) {
            (Ok(tcp), Some(remote)) => self.serve(tcp, remote, listener),
            (Err(error), _) => tracing::error!("cannot accept on {listener}: {error}"),
            // Only addresses of IP are listened on.
            (Ok(_), None) => {}
        }
    }

    fn abandon(&self, peer: PeerId) {
        self.pools.borrow_mut().forget(peer);
        for (_, slot) in self.connections.borrow().iter() {
            if slot.waits_for.get() == Some(peer) {
                slot.abandoned.set(true);
                slot.wake();
            }
        }
    }

    async fn accept(self: Rc<Self>, socket: Rc<RefCell<Option<TcpListener>>>, address: SocketAddr) {
        let mut said: Option<Timestamp> = None;
        loop {
            let accepted = poll_fn(|cx| match &*socket.borrow() {
                Some(listener) => listener.poll_accept(cx).map(Some),
                None => Poll::Ready(None),
            });
            match accepted.await {
                None => return,
                Some(Ok((tcp, remote))) => self.serve(tcp, remote, address),
                Some(Err(error)) if is_momentary(&error) => {}
                Some(Err(error)) => {
                    // Out of descriptors or memory: the backlog keeps them while connections end. One line tells it.
                    let now = self.clock.now();
                    if said.is_none_or(|said| now.since(said) >= ACCEPT_SILENCE) {
                        tracing::error!("cannot accept on {address}: {error}; connections wait until others end");
                        said = Some(now);
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(self: &Rc<Self>, tcp: tokio::net::TcpStream, remote: SocketAddr, listener: SocketAddr) {
        // Seated at once, not when its task first runs: a worker that drains must not take itself for empty meanwhile.
        let seat = self.seat();
        tokio::task::spawn_local(connection::serve(seat, Stream::new(tcp), remote, listener));
    }
}

/// How long nothing more is said of it when the machine has no room for a connection.
const ACCEPT_SILENCE: Duration = Duration::from_secs(10);
/// How long no connection is accepted then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Errors of one connection that went away before it was accepted.
fn is_momentary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
