//! One client's connection: idle, a head, its request, and again.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::request;
use super::scratch::Scratch;
use crate::clock::Timestamp;
use crate::config::model::ClientLimits;
use crate::http1::{self, Progress, Reject, RequestHead};
use crate::net::{Buffer, Deadline, Stream};
use crate::proxy::worker::{Seat, Worker};
use crate::topology::VirtualHosts;

/// How long a client whose connection ends may pause in its sending before the connection is closed under it (nginx:
/// `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(5);
/// How long it may go on sending in all (nginx: `lingering_time`).
const LINGER_IN_ALL: Duration = Duration::from_secs(30);
/// How long a client may take for what it has begun, or was about to begin, when weir stops.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Empty lines before a head, in bytes: they are not counted as its part.
const EMPTY_LINES: usize = 16;

/// What is known of a client for the life of its connection.
#[derive(Debug)]
pub struct Client {
    /// The other end of the socket.
    pub remote: SocketAddr,
    /// This end of the socket.
    pub local: SocketAddr,
    /// The address that was listened on, as in the topology.
    pub listener: SocketAddr,
    /// `$connection`.
    pub serial: u64,
    /// Who answered on the listener when the connection came. They go on if a reload removes the listener.
    pub hosts: Option<Arc<VirtualHosts>>,
}

/// A client's connection and what serves it.
pub struct Connection {
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// Its place there.
    pub seat: Seat,
    /// The socket.
    pub stream: Stream,
    /// The one timer for all its waits.
    pub deadline: Deadline,
    /// Whom it serves.
    pub client: Client,
    /// Requests begun on it.
    pub requests: u64,
    /// How long it may be idle: as the server of its last request says.
    pub keepalive_timeout: Duration,
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may come.
    KeepAlive,
    /// Nothing more to say: close, as soon as the client has no more to say either.
    Close,
    /// The client may still be sending: end our side, read a while, then close, so that it can read the answer.
    Linger,
    /// The answer was cut: a reset tells the client so.
    Reset,
}

/// Serves a client until either side has had enough.
pub fn serve(seat: Seat, stream: Stream, remote: SocketAddr, listener: SocketAddr) -> impl Future<Output = ()> {
    let (worker, slot) = (Rc::clone(&seat.worker), Rc::clone(&seat.slot));
    let client = Client {
        remote,
        local: stream.local_addr().unwrap_or(listener),
        listener,
        serial: worker.next_serial(),
        hosts: worker.with(|topology| topology.listener(listener).map(|spec| Arc::clone(&spec.hosts))),
    };
    let deadline = Deadline::new(worker.clock);
    let keepalive_timeout = worker.client_limits(listener).keepalive_timeout;
    let mut connection = Connection { worker, seat, stream, deadline, client, requests: 0, keepalive_timeout };
    // One block around one value, used in place: an `async fn` keeps what it is given twice, and most connections are
    // idle most of the time.
    async move {
        let worker = Rc::clone(&connection.worker);
        let mut life = pin!(connection.run());
        poll_fn(|cx| {
            worker.begin_turn(&slot, cx.waker());
            life.as_mut().poll(cx)
        })
        .await;
    }
}

impl Connection {
    async fn run(&mut self) {
        while self.readable().await {
            let mut scratch = self.worker.spare.borrow_mut().take();
            // Boxed, so that an idle connection's task is small.
            let after = Box::pin(self.busy(&mut scratch)).await;
            match after {
                After::Linger => Box::pin(self.linger(&mut scratch.client_in)).await,
                // Closing with bytes unread would be a reset, which may destroy the answer.
                After::Close if !scratch.client_in.is_empty() || !self.stream.looks_quiet() => {
                    Box::pin(self.linger(&mut scratch.client_in)).await;
                }
                After::Reset => self.stream.reset_on_close(),
                After::KeepAlive | After::Close => {}
            }
            self.worker.spare.borrow_mut().put(scratch);
            if after != After::KeepAlive {
                return;
            }
        }
    }

    /// Waits for the first byte of a request. False: nobody will send one.
    async fn readable(&mut self) -> bool {
        let now = self.worker.now();
        let first = self.requests == 0;
        let limit = if first { self.default_limits().header_timeout } else { self.keepalive_timeout };
        self.deadline.set(now, limit);
        poll_fn(|cx| {
            // First: what has come is served, whatever ends.
            if self.stream.poll_readable(cx).is_ready() {
                return Poll::Ready(true);
            }
            if self.is_ending() {
                if !first {
                    return Poll::Ready(false);
                }
                self.deadline.tighten(now, LAST_CALL);
            }
            self.deadline.poll(cx).map(|()| false)
        })
        .await
    }

    /// Serves requests as long as they come without a pause.
    async fn busy(&mut self, scratch: &mut Scratch) -> After {
        loop {
            let began = match self.head(scratch).await {
                Head::Whole { began } => began,
                Head::Nothing => return After::KeepAlive,
                Head::Gone => return After::Close,
                Head::TimedOut { began } => {
                    return request::refuse_late(self, scratch, began).await;
                }
                Head::Bad { reject, began } => return request::refuse(self, scratch, &reject, began).await,
            };
            self.requests += 1;
            let after = request::serve(self, scratch, began).await;
            if after != After::KeepAlive || scratch.client_in.is_empty() {
                return after;
            }
        }
    }

    /// Reads one whole head.
    async fn head(&mut self, scratch: &mut Scratch) -> Head {
        let limits = self.default_limits();
        let wire =
            http1::Limits { head: limits.max_head_size, target: limits.max_target_size, ..http1::Limits::default() };
        let mut began = None;
        scratch.request.clear();
        let Connection { stream, deadline, worker, .. } = self;
        poll_fn(|cx| {
            loop {
                if !scratch.client_in.is_empty() {
                    let began = *began.get_or_insert_with(|| {
                        let now = worker.now();
                        deadline.set(now, limits.header_timeout);
                        now
                    });
                    match scratch.request.parse(scratch.client_in.data(), &wire) {
                        Ok(Progress::Complete { consumed }) => {
                            scratch.client_in.consume(consumed);
                            return Poll::Ready(Head::Whole { began });
                        }
                        Ok(Progress::Partial) => {}
                        Err(reject) => return Poll::Ready(Head::Bad { reject, began }),
                    }
                }
                match scratch.client_in.poll_fill(stream, cx, wire.head.saturating_add(EMPTY_LINES)) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Head::Gone),
                    Poll::Pending => match began {
                        // Woken for nothing.
                        None => return Poll::Ready(Head::Nothing),
                        Some(began) => {
                            if worker.is_draining() {
                                deadline.tighten(worker.now(), LAST_CALL);
                            }
                            return deadline.poll(cx).map(|()| Head::TimedOut { began });
                        }
                    },
                }
            }
        })
        .await
    }

    /// Whether the connection may serve another request after this one.
    pub fn may_keep(&self, head: &RequestHead, limits: Option<&ClientLimits>) -> bool {
        let left = limits
            .is_none_or(|limits| self.requests < limits.keepalive_requests && !limits.keepalive_timeout.is_zero());
        head.keep_alive() && left && !self.is_ending()
    }

    /// Whether the connection should end at the next opportunity: weir stops, or no longer listens where it came from.
    fn is_ending(&self) -> bool {
        self.worker.is_draining() || self.worker.with(|topology| topology.listener(self.client.listener).is_none())
    }

    /// Limits before a head tells which server is meant: those of the listener's default server.
    fn default_limits(&self) -> Arc<ClientLimits> {
        self.worker.client_limits(self.client.listener)
    }

    /// Ends our side and reads what the client is still sending, so that a reset does not destroy the answer.
    async fn linger(&mut self, buffer: &mut Buffer) {
        self.stream.shutdown_write();
        let Connection { stream, deadline, worker, .. } = self;
        let began = worker.now();
        deadline.set(began, LINGER);
        poll_fn(|cx| {
            loop {
                buffer.clear();
                match buffer.poll_fill(stream, cx, Buffer::STREAMING) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => {
                        if worker.is_draining() {
                            deadline.tighten(began, LAST_CALL);
                        }
                        return deadline.poll(cx);
                    }
                }
                // Asked here as well: of a client that never pauses the timer would not be heard.
                let now = worker.now();
                if now.since(began) >= LINGER_IN_ALL || (worker.is_draining() && now.since(began) >= LAST_CALL) {
                    return Poll::Ready(());
                }
                deadline.set(now, LINGER.min(LINGER_IN_ALL - now.since(began)));
            }
        })
        .await;
    }
}

/// What came of waiting for a head.
enum Head {
    /// It is in the scratch. `began`: its first byte.
    Whole { began: Timestamp },
    /// Not a byte yet.
    Nothing,
    /// The client left.
    Gone,
    /// It took longer than `client_header_timeout`.
    TimedOut { began: Timestamp },
    /// It is not a request.
    Bad { reject: Reject, began: Timestamp },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A size that a future has, without making one.
    fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_a_small_task() {
        let task = size_of_future(|(seat, stream, remote, listener)| serve(seat, stream, remote, listener));
        println!("{task} of {}", size_of::<Connection>());
        assert!(task <= 448, "{task} bytes");
    }
}
