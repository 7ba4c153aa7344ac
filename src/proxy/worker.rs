//! One thread of the data plane: its connections, its pools, its view of the world. Nothing here is shared.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::clock::Clock;
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
    /// Idle connections to peers.
    pub pools: RefCell<Pools>,
    /// Where finished requests are told.
    pub log: WorkerLog,
    /// Memory that busy connections use in turn.
    pub spare: RefCell<Spare>,
    topology: RefCell<Reader>,
    connections: RefCell<slab::Slab<Rc<Slot>>>,
    listening: RefCell<Vec<(SocketAddr, tokio::task::AbortHandle)>>,
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

/// A connection's place among the worker's, given back on drop.
pub struct Seat {
    worker: Rc<Worker>,
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
    pub fn seat(self: &Rc<Self>) -> Seat {
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
        // One for all turns: dropped in the middle, it would forget that lines wait, and nobody would tell it again.
        let mut flushing = pin!(self.log.flush_promptly());
        loop {
            tokio::select! {
                command = commands.recv(), if !self.is_draining() => self.obey(command.unwrap_or(Command::Drain)),
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
                Ok(listener) => {
                    let task = tokio::task::spawn_local(Rc::clone(self).accept(listener, address));
                    self.listening.borrow_mut().push((address, task.abort_handle()));
                }
                Err(error) => tracing::error!("cannot listen on {address}: {error}"),
            },
            Command::Unlisten(address) => self.listening.borrow_mut().retain(|(listening, task)| {
                if *listening == address {
                    task.abort();
                }
                *listening != address
            }),
            Command::Abandon(peer) => self.abandon(peer),
            Command::Drain => {
                self.draining.set(true);
                for (_, task) in self.listening.borrow_mut().drain(..) {
                    task.abort();
                }
                for (_, slot) in self.connections.borrow().iter() {
                    slot.wake();
                }
            }
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

    async fn accept(self: Rc<Self>, listener: TcpListener, address: SocketAddr) {
        let _last_words = LastAccept { worker: &self, listener: &listener, address };
        loop {
            match listener.accept().await {
                Ok((tcp, remote)) => self.serve(tcp, remote, address),
                Err(error) if is_momentary(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: the backlog keeps them while connections end.
                    tracing::error!("cannot accept on {address}: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn serve(self: &Rc<Self>, tcp: tokio::net::TcpStream, remote: SocketAddr, listener: SocketAddr) {
        tokio::task::spawn_local(connection::serve(Rc::clone(self), Stream::new(tcp), remote, listener));
    }
}

/// Accepts what had already connected when the accept task is ended: closing a socket resets its queue.
struct LastAccept<'a> {
    worker: &'a Rc<Worker>,
    listener: &'a TcpListener,
    address: SocketAddr,
}

impl Drop for LastAccept<'_> {
    fn drop(&mut self) {
        let mut cx = std::task::Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok((tcp, remote))) = self.listener.poll_accept(&mut cx) {
            self.worker.serve(tcp, remote, self.address);
        }
    }
}

/// Errors of one connection that went away before it was accepted.
fn is_momentary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Polls `work` while keeping the slot's waker current: what every connection task is wrapped in.
pub async fn reachable<F: Future>(slot: Rc<Slot>, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        slot.register(cx.waker());
        work.as_mut().poll(cx)
    })
    .await
}
