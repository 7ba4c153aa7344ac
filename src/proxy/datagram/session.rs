//! One client's datagrams and the answers to them, from the choice of a peer to the last that is to be expected.
//! (nginx: `ngx_stream_proxy_module.c`, the cases of `SOCK_DGRAM`.)

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

use super::inbox::Inbox;
use super::port::Port;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::health::Outcome;
use crate::net::Deadline;
use crate::proxy::http::{Trouble, report};
use crate::proxy::stream::{Course, Story, Turn};
use crate::proxy::worker::{Seat, Worker};
use crate::telemetry::SessionEnd;
use crate::topology::StreamRoute;

/// A client's datagrams, and what becomes of them.
struct Session {
    worker: Rc<Worker>,
    seat: Seat,
    port: Rc<Port>,
    inbox: Rc<Inbox>,
    client: SocketAddr,
    deadline: Deadline,
    course: Course,
    story: Story,
    /// Datagrams to the client.
    responses: u64,
    /// When the latest came.
    answered: Option<Timestamp>,
}

/// How the time with one peer ended.
enum End {
    /// All that was to be expected came.
    Done,
    /// Nothing came from either side for `proxy_timeout`.
    Idle,
    /// Weir stops, or the listener is gone.
    Stopped,
    /// The peer is not there.
    Failed(Trouble),
}

/// Serves a client's datagrams until nothing more is to be expected. The first is in the inbox.
pub fn serve(
    seat: Seat,
    port: Rc<Port>,
    inbox: Rc<Inbox>,
    client: SocketAddr,
    route: Arc<StreamRoute>,
) -> impl Future<Output = ()> {
    let (worker, slot) = (Rc::clone(&seat.worker), Rc::clone(&seat.slot));
    let mut session = Session {
        seat,
        port,
        inbox,
        client,
        deadline: Deadline::new(),
        course: Course::new(route, client.into()),
        story: Story::new("UDP", client.into(), worker.next_serial(), worker.clock.now()),
        responses: 0,
        answered: None,
        worker,
    };
    async move {
        let worker = Rc::clone(&session.worker);
        worker.turns(&slot, pin!(session.run())).await;
    }
}

impl Session {
    async fn run(&mut self) {
        (self.story.status, self.story.end) = Box::pin(self.peers()).await;
        self.port.forget(self.client, &self.inbox);
        self.story.received = self.inbox.received.get();
        self.story.tell(&self.worker, &self.course);
    }

    /// One peer after the other, as long as there is something to send again when one is not there.
    async fn peers(&mut self) -> (u16, SessionEnd) {
        let mut failed = false;
        loop {
            let mut turn = match self.lease().await {
                Some(Ok(turn)) => turn,
                Some(Err(())) => return (if failed { 502 } else { 503 }, SessionEnd::NoPeer),
                None => return (503, SessionEnd::Stopped),
            };
            let responses = self.responses;
            let end = match self.open(&turn) {
                Ok(socket) => self.exchange(&socket, &mut turn).await,
                Err(trouble) => End::Failed(trouble),
            };
            let answered = self.responses > responses;
            let now = self.worker.now();
            let trouble = match end {
                End::Failed(trouble) => trouble,
                end => return self.finish(&end, turn, answered),
            };
            failed = true;
            let again = self.inbox.disconnect();
            if answered {
                self.course.answered();
            }
            self.course.ended(&turn.lease, now);
            let another = self.course.failed(&self.worker, turn, &trouble, false);
            if !again || another.is_err() {
                return (502, SessionEnd::PeerReset);
            }
        }
    }

    /// A peer to send to. `None`: the session has to end.
    async fn lease(&mut self) -> Option<Result<Turn, ()>> {
        let Session { worker, course, port, .. } = self;
        let mut waiting = pin!(course.lease(worker));
        poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(leased) => Poll::Ready(Some(leased.map_err(|_| ()))),
            Poll::Pending if port.is_closed() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// A socket that sends to this peer alone, and hears of it alone. What is kept goes out.
    fn open(&self, turn: &Turn) -> Result<Rc<UdpSocket>, Trouble> {
        let opened = connected(&turn.lease.peer().addr).and_then(|socket| {
            let socket = Rc::new(socket);
            // Where none is awaited, an answer cannot tell when a datagram is not needed any more.
            let keeps = self.course.route.proxy.responses != Some(0);
            self.inbox.connect(Rc::clone(&socket), keeps).map(|()| socket)
        });
        opened.map_err(|error| Trouble::connect(&error))
    }

    /// Passes on what the peer answers.
    async fn exchange(&mut self, socket: &UdpSocket, turn: &mut Turn) -> End {
        let peer = turn.lease.peer().id;
        let limit = self.course.route.proxy.timeout;
        let mut connected = false;
        self.seat.slot.wait_for(Some(peer));
        self.deadline.set(self.worker.now(), limit);
        let mut refused = pin!(socket.ready(Interest::ERROR));
        let end = poll_fn(|cx| {
            let now = self.worker.now();
            loop {
                match self.poll_answer(cx, socket) {
                    Poll::Ready(Ok(())) => {
                        if !connected {
                            connected = true;
                            self.course.connected(&mut turn.lease, now);
                            self.inbox.answered();
                        }
                        self.deadline.set(now, limit);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(Trouble::connect(&error))),
                    Poll::Pending => break,
                }
            }
            // Of a socket that has an error and no datagram, a reader is not told.
            while refused.as_mut().poll(cx).is_ready() {
                if let Ok(Some(error)) = socket.take_error() {
                    return Poll::Ready(End::Failed(Trouble::connect(&error)));
                }
                // Somebody else has taken it.
                let _ = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                refused.set(socket.ready(Interest::ERROR));
            }
            if let Some(error) = self.inbox.error() {
                return Poll::Ready(End::Failed(Trouble::connect(&error)));
            }
            if self.is_complete() {
                return Poll::Ready(End::Done);
            }
            if self.port.is_closed() {
                if !self.owes_an_answer() {
                    return Poll::Ready(End::Stopped);
                }
                let (from, limit) = self.worker.last_call(self.inbox.latest.get());
                self.deadline.tighten(from, limit);
            }
            if self.seat.slot.is_abandoned() {
                return Poll::Ready(End::Failed(Trouble::abandoned()));
            }
            loop {
                if self.deadline.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.port.is_closed() {
                    return Poll::Ready(End::Stopped);
                }
                // What the client has sent meanwhile did not touch the timer.
                let until = self.inbox.latest.get() + limit;
                if until <= self.worker.clock.now() {
                    return Poll::Ready(End::Idle);
                }
                self.deadline.set(self.inbox.latest.get(), limit);
            }
        })
        .await;
        self.seat.slot.wait_for(None);
        if !connected && !matches!(end, End::Failed(_)) {
            self.course.silent(&turn.lease, self.worker.now());
        }
        end
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>, socket: &UdpSocket) -> Poll<io::Result<()>> {
        let mut buffer = self.port.buffer().borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        socket.poll_recv(cx, &mut read).map_ok(|()| {
            self.responses += 1;
            self.answered = Some(self.worker.now());
            self.story.sent += read.filled().len() as u64;
            self.port.reply(self.client, read.filled());
        })
    }

    /// Whether an answer to the client's latest datagram may be on its way.
    fn owes_an_answer(&self) -> bool {
        let awaits = self.course.route.proxy.responses != Some(0);
        awaits && self.answered.is_none_or(|at| at < self.inbox.latest.get())
    }

    /// Whether the client's datagrams and the answers to them are as many as were to be expected.
    fn is_complete(&self) -> bool {
        let proxy = &self.course.route.proxy;
        let requests = self.inbox.requests.get();
        requests >= proxy.requests
            && proxy.responses.is_some_and(|each| self.responses >= each.saturating_mul(requests))
    }

    /// What the peer's health hears, and the log.
    fn finish(&mut self, end: &End, turn: Turn, answered: bool) -> (u16, SessionEnd) {
        let now = self.worker.now();
        let proxy = &self.course.route.proxy;
        let awaited = proxy.responses.map_or(0, |each| each.saturating_mul(self.inbox.requests.get()));
        let told = match end {
            End::Idle => SessionEnd::Idle,
            End::Stopped => SessionEnd::Stopped,
            End::Done | End::Failed(_) => SessionEnd::Done,
        };
        let (outcome, status) = match told {
            SessionEnd::Idle if self.responses < awaited => {
                (Outcome::Soft(format!("no answer within {:?}", proxy.timeout).into()), 502)
            }
            // Whether it took anything, nobody knows.
            SessionEnd::Idle | SessionEnd::Stopped if !answered => (Outcome::Neutral, 200),
            _ => (Outcome::Success, 200),
        };
        self.course.ended(&turn.lease, now);
        report(turn.lease.finish(outcome, now));
        (status, told)
    }
}

/// A socket on any port of this machine, connected: it hears when nobody listens there (ICMP).
fn connected(peer: &Endpoint) -> io::Result<UdpSocket> {
    let Endpoint::Ip(peer) = peer else { return Err(io::ErrorKind::Unsupported.into()) };
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(peer)?;
    UdpSocket::from_std(socket)
}
