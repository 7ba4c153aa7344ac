//! One client's connection: idle, a head, its request, and again.

use std::future::poll_fn;
use std::net::SocketAddr;
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
use crate::proxy::worker::{Seat, Worker, reachable};

/// How long a refused client may go on sending before the connection is closed under it (nginx: `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(5);
/// How much of it is read, in bytes.
const LINGER_BYTES: usize = 1024 * 1024;
/// How long a client that had already connected may take for its request when weir stops.
const LAST_CALL: Duration = Duration::from_secs(1);

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
}

/// A client's connection and what serves it.
pub struct Connection {
    pub worker: Rc<Worker>,
    pub seat: Seat,
    pub stream: Stream,
    pub deadline: Deadline,
    pub client: Client,
    /// Requests begun on it.
    pub requests: u64,
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may come.
    KeepAlive,
    /// Nothing more to say: close.
    Close,
    /// The client may still be sending: end our side, read a while, then close, so that it can read the answer.
    Linger,
    /// The answer was cut: a reset tells the client so.
    Reset,
}

/// Serves a client until either side has had enough.
pub async fn serve(worker: Rc<Worker>, stream: Stream, remote: SocketAddr, listener: SocketAddr) {
    let seat = worker.seat();
    let slot = Rc::clone(&seat.slot);
    let client =
        Client { remote, local: stream.local_addr().unwrap_or(listener), listener, serial: worker.next_serial() };
    let deadline = Deadline::new(worker.clock);
    let connection = Connection { worker, seat, stream, deadline, client, requests: 0 };
    reachable(slot, connection.run()).await;
}

impl Connection {
    async fn run(mut self) {
        loop {
            if !self.readable().await {
                return;
            }
            let mut scratch = self.worker.spare.borrow_mut().take();
            // Boxed, so that an idle connection's task is small.
            let after = Box::pin(self.busy(&mut scratch)).await;
            match after {
                After::KeepAlive => {}
                After::Close => return,
                After::Reset => return self.stream.reset_on_close(),
                After::Linger => return self.linger(&mut scratch.client_in).await,
            }
            self.worker.spare.borrow_mut().put(scratch);
        }
    }

    /// Waits for the first byte of a request. False: nobody will send one.
    async fn readable(&mut self) -> bool {
        let limits = self.default_limits();
        let now = self.worker.clock.now();
        let first = self.requests == 0;
        self.deadline.set(now, if first { limits.header_timeout } else { limits.keepalive_timeout });
        poll_fn(|cx| {
            if self.worker.is_draining() {
                if !first {
                    return Poll::Ready(false);
                }
                self.deadline.tighten(now, LAST_CALL);
            }
            if self.stream.poll_readable(cx).is_ready() {
                return Poll::Ready(true);
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
                        let now = worker.clock.now();
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
                match scratch.client_in.poll_fill(stream, cx, wire.head + 4) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Head::Gone),
                    Poll::Pending => match began {
                        // Woken for nothing.
                        None => return Poll::Ready(Head::Nothing),
                        Some(began) => return deadline.poll(cx).map(|()| Head::TimedOut { began }),
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
        head.keep_alive() && left && !self.worker.is_draining()
    }

    /// Limits before a head tells which server is meant: those of the listener's default server.
    fn default_limits(&self) -> Arc<ClientLimits> {
        self.worker.client_limits(self.client.listener)
    }

    /// Ends our side and reads what the client is still sending, so that a reset does not destroy the answer.
    async fn linger(&mut self, buffer: &mut Buffer) {
        self.stream.shutdown_write();
        self.deadline.set(self.worker.clock.now(), LINGER);
        let mut left = LINGER_BYTES;
        let Connection { stream, deadline, .. } = self;
        poll_fn(|cx| {
            loop {
                let n = buffer.len();
                buffer.consume(n);
                match buffer.poll_fill(stream, cx, Buffer::STREAMING) {
                    Poll::Ready(Ok(n)) if n > 0 && n <= left => left -= n,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return deadline.poll(cx),
                }
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
