//! One thread of the data plane: its connections (`seats`), where it accepts them (`listening`) and
//! where they wait (`parking`), its pools, its view of the world.
//! Nothing here is shared.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::clock::{Clock, Timestamp};
use crate::config::model::ClientLimits;
use crate::endpoint::Endpoint;
use crate::id::{GroupId, PeerId};
use crate::mailbox::{Command, Notice};
use crate::net::{Listener, Pools};
use crate::telemetry::WorkerLog;
use crate::topology::{Group, Live, Local, Peer, Reader, Service, Topology};

mod bells;
mod crew;
#[cfg(test)]
mod fixture;
mod listening;
pub mod parking;
mod seats;

pub use seats::{Seat, Slot};

use crew::Crew;

use super::complaints::Complaints;
use super::datagram::Port;
use super::http::connection::Client;
use super::http::{PeerConn, Spare, http2};
use listening::Listening;
use parking::Parking;
use seats::Seats;

/// One worker.
pub struct Worker {
    /// The clock.
    pub clock: Clock,
    /// Idle connections to peers.
    pub pools: RefCell<Pools<PeerConn>>,
    /// Shared connections to peers that speak HTTP/2.
    pub http2: RefCell<http2::Peers>,
    /// Where finished requests are told.
    pub log: WorkerLog,
    /// Memory that busy connections use in turn.
    pub spare: RefCell<Spare>,
    topology: RefCell<Reader>,
    seats: Seats,
    /// Its connections' tasks.
    pub crew: Rc<Crew>,
    /// Connections that take no turns.
    pub parking: Parking,
    listening: RefCell<Vec<Listening>>,
    /// Where datagrams come.
    ports: RefCell<Vec<Rc<Port>>>,
    draining: Cell<bool>,
    /// Since when another process accepts instead.
    handed_over: Cell<Option<Timestamp>>,
    serials: Arc<AtomicU64>,
    notices: mpsc::UnboundedSender<Notice>,
    /// Connections that were closed for want of a PROXY header.
    pub headerless: Complaints,
    /// Peers that take no tunnels over HTTP/2.
    pub tunnelless: Complaints,
}

/// How long a client may take for what it has begun, or was about to begin, when weir stops.
const LAST_CALL: Duration = Duration::from_secs(1);
/// The same when another process accepts instead, or a reload has removed the listener, so that there is no hurry. An idle client may ask once more, and the answer
/// closes its connection: one that is closed under a client may meet a request that is on its way.
pub const ONE_MORE: Duration = Duration::from_secs(5);

/// How often what is idle is looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How long others have their turns before more connections are parked.
const PARKING_PAUSE: Duration = Duration::from_millis(20);

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
            http2: RefCell::default(),
            log,
            spare: RefCell::default(),
            topology: RefCell::new(live.reader()),
            seats: Seats::default(),
            crew: Rc::default(),
            parking: Parking::default(),
            listening: RefCell::default(),
            ports: RefCell::default(),
            draining: Cell::new(false),
            handed_over: Cell::new(None),
            serials,
            notices,
            headerless: Complaints::default(),
            tunnelless: Complaints::default(),
        })
    }

    /// When the present turn, or the step that it is part of, began. A turn takes microseconds, and asking the clock within it would
    /// cost more than some of its parts.
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.crew.now()
    }

    /// A task that is not of the crew is polled: its waker is remembered, and it is now.
    pub fn begin_turn(&self, slot: &Slot, waker: &Waker) {
        self.crew.look_at_clock();
        slot.register(waker);
    }

    /// The whole life of a session that is not of the crew, turn by turn.
    pub async fn turns(&self, slot: &Slot, mut life: Pin<&mut impl Future<Output = ()>>) {
        poll_fn(|cx| {
            self.begin_turn(slot, cx.waker());
            life.as_mut().poll(cx)
        })
        .await;
    }

    /// Looks at the present snapshot.
    pub fn with<T>(&self, look: impl FnOnce(&Topology) -> T) -> T {
        look(self.topology.borrow_mut().topology())
    }

    /// A group of the present snapshot.
    pub fn group(&self, id: GroupId) -> Option<Local<Group>> {
        self.topology.borrow_mut().group(id)
    }

    /// Looks at the limits that hold on a listener until a request has told its host.
    pub fn client_limits<T>(&self, client: &Client, look: impl Fn(&ClientLimits) -> T) -> T {
        let known = self.with(|topology| client.spec(topology).map(|spec| look(&spec.hosts.default_server().client)));
        // A listener that a reload has removed: its connections live on under nginx's own limits.
        known.unwrap_or_else(|| look(&ClientLimits::default()))
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

    /// Whether the worker drains and nobody accepts instead.
    pub fn is_stopping(&self) -> bool {
        self.is_draining() && self.handed_over.get().is_none()
    }

    /// How long a client may take for what it has begun, or is about to begin, now that the worker drains: a time and how
    /// long after it. `began`: when the client's turn began.
    pub fn last_call(&self, began: Timestamp) -> (Timestamp, Duration) {
        self.handed_over.get().map_or((began, LAST_CALL), |since| (since.max(began), ONE_MORE))
    }

    /// A place for a new connection, or for one of its streams.
    pub fn seat(self: &Rc<Self>) -> Seat {
        Seat::take(Rc::clone(self))
    }

    /// The next connection's serial number.
    pub fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// Obeys until drained: returns when told to drain (or when the control plane is gone) and no connection is left.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // One for all turns, so that a pause in it is not begun anew with each of them.
        let mut flushing = std::pin::pin!(self.log.flush_promptly());
        let mut parking = std::pin::pin!(async { tokio::join!(self.parking.attend(&self), self.park_idle()) });
        let mut commanded = true;
        loop {
            tokio::select! {
                command = commands.recv(), if commanded => {
                    commanded = command.is_some();
                    self.obey(command.unwrap_or(Command::Drain));
                }
                _ = sweep.tick() => {
                    self.topology.borrow_mut().let_go();
                    self.pools.borrow_mut().sweep(self.clock.now());
                    self.http2.borrow_mut().sweep(self.clock.now());
                    self.parking.call_due(self.clock.now());
                }
                () = &mut flushing => {}
                _ = &mut parking => {}
                () = self.emptied(), if self.is_draining() => return,
            }
        }
    }

    /// Parks connections that have been idle for a while, some at a time. Never ends.
    async fn park_idle(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let mut from = Some(0);
            while let Some(place) = from {
                if place > 0 {
                    tokio::time::sleep(PARKING_PAUSE).await;
                }
                from = self.seats.park_idle(self.clock.now() - parking::IDLE, place);
            }
        }
    }

    async fn emptied(&self) {
        // Draining is rare and short: looking again is simpler than being told.
        while !self.seats.is_empty() || !self.parking.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen(socket, address) => match Listener::new(socket) {
                Ok(listener) => self.listen(listener, address),
                Err(error) => tracing::error!("cannot listen on {address}: {error}"),
            },
            Command::Unlisten(address, last, _pending) => {
                self.unlisten(|listening| *listening == address, last.as_ref());
            }
            Command::ListenDatagrams(socket, address) => match UdpSocket::from_std(socket) {
                Ok(socket) => self.ports.borrow_mut().push(Port::open(self, socket, address)),
                Err(error) => tracing::error!("cannot take datagrams on {address}: {error}"),
            },
            Command::UnlistenDatagrams(address) => self.close_ports(|port| port.address == address),
            Command::Abandon(peer) => {
                self.disconnect(&[peer]);
                self.seats.abandon(peer);
            }
            Command::Forget(peers) => {
                self.disconnect(&peers);
                self.seats.forget(&peers);
            }
            Command::Drain => self.drain(),
            Command::HandOver => {
                self.handed_over.set(Some(self.clock.now()));
                self.drain();
            }
        }
    }

    fn drain(self: &Rc<Self>) {
        self.draining.set(true);
        self.close_ports(|_| true);
        self.unlisten(|_| true, None);
    }

    /// Nobody gets a connection to these peers that was used before.
    fn disconnect(&self, peers: &[PeerId]) {
        for peer in peers {
            self.pools.borrow_mut().forget(*peer);
            self.http2.borrow_mut().forget(*peer);
        }
    }

    /// Takes no more datagrams there; the sessions end.
    fn close_ports(&self, which: impl Fn(&Port) -> bool) {
        self.ports.borrow_mut().retain(|port| {
            let closes = which(port);
            if closes {
                port.close();
            }
            !closes
        });
        self.seats.wake_all();
    }

    fn service(&self, address: &Endpoint) -> Option<Service> {
        self.with(|topology| topology.service(address))
    }
}
