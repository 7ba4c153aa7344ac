//! One thread of the data plane: its connections, its pools, its view of the world. Nothing here is shared.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::clock::{Clock, Timestamp};
use crate::config::model::ClientLimits;
use crate::endpoint::{ClientAddr, Endpoint};
use crate::id::{GroupId, PeerId};
use crate::mailbox::{Command, Notice};
use crate::net::{Listener, Pools, Stream};
use crate::telemetry::WorkerLog;
use crate::topology::{Group, Live, Peer, Reader, Service, Topology};

use super::complaints::Complaints;
use super::conversation::Buffers;
use super::datagram::Port;
use super::http::connection::{self, Client};
use super::http::{Spare, http2};
use super::stream;

/// One worker.
pub struct Worker {
    /// The clock.
    pub clock: Clock,
    now: Cell<Timestamp>,
    /// Idle connections to peers.
    pub pools: RefCell<Pools>,
    /// Shared connections to peers that speak HTTP/2.
    pub http2: RefCell<http2::Peers>,
    /// Where finished requests are told.
    pub log: WorkerLog,
    /// Memory that busy connections use in turn.
    pub spare: RefCell<Spare>,
    /// Memory for bytes that streams pass on.
    pub buffers: RefCell<Buffers>,
    topology: RefCell<Reader>,
    connections: RefCell<slab::Slab<Rc<Slot>>>,
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

/// What the worker keeps of one client connection, to reach it.
#[derive(Debug, Default)]
pub struct Slot {
    waker: RefCell<Option<Waker>>,
    waits_for: Cell<Option<PeerId>>,
    abandoned: Cell<bool>,
    gone: Cell<bool>,
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
        self.gone.set(false);
    }

    /// Whether the peer was found unreachable since [`Slot::wait_for`].
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// Whether a connect to the peer is in vain: it was found unreachable, or is gone from DNS or the configuration. What
    /// was sent to one that is gone is still answered.
    pub fn is_connect_vain(&self) -> bool {
        self.abandoned.get() || self.gone.get()
    }

    /// Lets the connection's task look around.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// A socket that is listened on.
struct Listening {
    /// As configured: what tells listeners apart.
    address: Endpoint,
    /// Its task accepts as long as this is here.
    socket: Rc<RefCell<Option<Listener>>>,
    /// What was accepted when a reload had removed the listener already, and nobody had said so yet: that command tells
    /// who serves them.
    late: Rc<RefCell<Vec<Accepted>>>,
    task: tokio::task::AbortHandle,
}

/// A client's connection, and where it comes from.
type Accepted = (Stream, ClientAddr);

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
            http2: RefCell::default(),
            log,
            spare: RefCell::default(),
            buffers: RefCell::default(),
            topology: RefCell::new(live.reader()),
            connections: RefCell::default(),
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

    /// A session's whole life, turn by turn.
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
    pub fn group(&self, id: GroupId) -> Option<Arc<Group>> {
        self.topology.borrow_mut().group(id)
    }

    /// The limits that hold on a listener until a request has told its host.
    pub fn client_limits(&self, client: &Client) -> Arc<ClientLimits> {
        let known = self.with(|topology| client.spec(topology).map(|spec| spec.hosts.default_server().client.clone()));
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
                _ = sweep.tick() => {
                    self.pools.borrow_mut().sweep(self.clock.now());
                    self.http2.borrow_mut().sweep(self.clock.now());
                }
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
            Command::Abandon(peer) => self.abandon(peer),
            Command::Forget(peers) => self.forget(&peers),
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

    fn listen(self: &Rc<Self>, listener: Listener, address: Endpoint) {
        let socket = Rc::new(RefCell::new(Some(listener)));
        let late = Rc::default();
        let accepting = Rc::clone(self).accept(Rc::clone(&socket), Rc::clone(&late), address.clone());
        let task = tokio::task::spawn_local(accepting).abort_handle();
        self.listening.borrow_mut().push(Listening { address, socket, late, task });
    }

    /// Closes listening sockets, after taking what had already connected: closing a socket resets its queue. Idle
    /// connections are told to look whether they should end. `last`: what the listener was before a reload removed it.
    fn unlisten(self: &Rc<Self>, which: impl Fn(&Endpoint) -> bool, last: Option<&Service>) {
        self.listening.borrow_mut().retain(|listening| {
            if !which(&listening.address) {
                return true;
            }
            listening.task.abort();
            let socket = listening.socket.take();
            let Some(service) = self.service(&listening.address).or_else(|| last.cloned()) else { return false };
            listening.late.take().into_iter().for_each(|accepted| self.serve(accepted, service.clone()));
            if let Some(socket) = socket {
                while let Some(accepted) = socket.accept_now() {
                    match accepted {
                        Ok(accepted) => self.serve(accepted, service.clone()),
                        Err(error) => tracing::error!("cannot accept on {}: {error}", listening.address),
                    }
                }
            }
            false
        });
        self.wake_all();
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
        self.wake_all();
    }

    fn wake_all(&self) {
        for (_, slot) in self.connections.borrow().iter() {
            slot.wake();
        }
    }

    fn service(&self, address: &Endpoint) -> Option<Service> {
        self.with(|topology| topology.service(address))
    }

    fn abandon(&self, peer: PeerId) {
        self.pools.borrow_mut().forget(peer);
        self.http2.borrow_mut().forget(peer);
        for (_, slot) in self.connections.borrow().iter() {
            if slot.waits_for.get() == Some(peer) {
                slot.abandoned.set(true);
                slot.wake();
            }
        }
    }

    fn forget(&self, gone: &[PeerId]) {
        for peer in gone {
            self.pools.borrow_mut().forget(*peer);
            self.http2.borrow_mut().forget(*peer);
        }
        let gone: HashSet<PeerId> = gone.iter().copied().collect();
        for (_, slot) in self.connections.borrow().iter() {
            if slot.waits_for.get().is_some_and(|peer| gone.contains(&peer)) {
                slot.gone.set(true);
                slot.wake();
            }
        }
    }

    async fn accept(
        self: Rc<Self>,
        socket: Rc<RefCell<Option<Listener>>>,
        late: Rc<RefCell<Vec<Accepted>>>,
        address: Endpoint,
    ) {
        let mut said: Option<Timestamp> = None;
        loop {
            let accepted = poll_fn(|cx| match &*socket.borrow() {
                Some(listener) => listener.poll_accept(cx).map(Some),
                None => Poll::Ready(None),
            });
            match accepted.await {
                None => return,
                Some(Ok(accepted)) => match self.service(&address) {
                    Some(service) => self.serve(accepted, service),
                    None => late.borrow_mut().push(accepted),
                },
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

    fn serve(self: &Rc<Self>, (client, remote): Accepted, service: Service) {
        // Seated at once, not when its task first runs: a worker that drains must not take itself for empty meanwhile.
        let seat = self.seat();
        match service {
            Service::Http(listener) => tokio::task::spawn_local(connection::serve(seat, client, remote, listener)),
            Service::Stream(route) => tokio::task::spawn_local(stream::serve(seat, client, remote, route)),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};
    use crate::net::listener;
    use crate::telemetry::AccessLog;
    use crate::topology::Change;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    const ADDRESS: &str = "127.0.0.1:0";
    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    const WEB: &str = "[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/\"\nreturn = \"web\"\n";
    const NOTHING: &str = "[[server]]\nlisten = \"127.0.0.2:0\"\n[[server.location]]\npath = \"/\"\nreturn = 404\n";

    fn topology(text: &str) -> Topology {
        let loaded = config::parse("upstream.toml", text, &Env::default()).expect("a good file");
        Topology::build_seeded(Arc::new(loaded.config), 1, Timestamp::ZERO)
    }

    /// The snapshot `before` a reload removed the listener, and the one after it.
    fn snapshots(before: &str) -> (Topology, Topology) {
        let before = topology(before);
        let groups = before.config().upstreams.clone();
        let mut config = (**topology(NOTHING).config()).clone();
        config.upstreams = groups;
        let (after, _) = before.apply(Change::Config(Arc::new(config)), Timestamp::ZERO);
        (before, after)
    }

    /// What a client hears that had connected when a reload removed the listener. `before`: what the listener was;
    /// `accepted`: whether the worker had accepted it by then.
    fn heard(before: &str, accepted: bool) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address: Endpoint = ADDRESS.parse::<std::net::SocketAddr>().unwrap().into();
        let (before, after) = snapshots(before);
        let last = before.service(&address);
        let (notices, _heard) = mpsc::unbounded_channel();
        let log = AccessLog::open(&config::model::LogTarget::Off, config::model::LogFormat::Json).unwrap();
        let live = Live::new(after);
        let worker = Worker::new(&live, log.worker(), Arc::default(), notices);
        runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
            let mut bound = listener::bind(&address, 0, 1).unwrap();
            let Endpoint::Ip(real) = bound.address else { panic!("a port") };
            worker.obey(Command::Listen(bound.sockets.remove(0).1, address.clone()));
            let mut client = TcpStream::connect(real).unwrap();
            client.write_all(ASKED).unwrap();
            let late = Rc::clone(&worker.listening.borrow()[0].late);
            while accepted && late.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            worker.obey(Command::Unlisten(address, last, mpsc::channel(1).0));
            let reading = tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                client.read_to_string(&mut text).map(|_| text)
            });
            reading.await.unwrap().unwrap_or_default()
        }))
    }

    #[test]
    fn who_has_connected_just_when_a_reload_removes_the_listener_is_served_as_it_was() {
        for accepted in [false, true] {
            let text = heard(WEB, accepted);
            assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("web"), "{accepted}: {text}");
            assert!(text.contains("Connection: close"), "{accepted}: {text}");
        }
    }

    #[test]
    fn of_a_stream_too() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[upstream.db]\nservers = [\"{}\"]\n[[stream]]\nlisten = \"127.0.0.1:0\"\nproxy_pass = \"db\"\n",
            peer.local_addr().unwrap()
        );
        let serving = std::thread::spawn(move || {
            for _ in 0..2 {
                let mut stream = peer.accept().unwrap().0;
                // Closing a socket with something unread in it would be a reset.
                stream.read_exact(&mut [0; ASKED.len()]).unwrap();
                stream.write_all(b"bytes").unwrap();
            }
        });
        for accepted in [false, true] {
            assert_eq!(heard(&text, accepted), "bytes", "{accepted}");
        }
        serving.join().unwrap();
    }
}
