//! One client's connection: idle, a head, its request, and again.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::forwarded::Told;
use super::proxied::Proxied;
use super::scratch::Scratch;
use super::secure::Security;
use super::side::Side;
use super::tunnel::Tunnel;
use super::{answer, apart, http2, in_place, request};
use crate::clock::Timestamp;
use crate::config::model::ClientLimits;
use crate::endpoint::{ClientAddr, Endpoint};
use crate::http1::{self, Progress, Reject, RequestHead};
use crate::net::{Accepted, Buffer, Deadline};
use crate::proxy::worker::{ONE_MORE, Seat, Worker, parking};
use crate::tls::HTTP2;
use crate::topology::{ListenerSpec, Route, Topology, VirtualHosts};

/// How long a client whose connection ends may pause in its sending before the connection is closed under it (nginx:
/// `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(5);
/// How long it may go on sending in all (nginx: `lingering_time`).
const LINGER_IN_ALL: Duration = Duration::from_secs(30);
/// Empty lines before a head, in bytes: they are not counted as its part.
const EMPTY_LINES: usize = 16;

/// What is known of a client for the life of its connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The other end: of the socket, or of the client's connection to the proxy whose PROXY header says so.
    pub remote: ClientAddr,
    /// This end, likewise.
    pub local: Endpoint,
    /// The address that was listened on, as in the topology.
    pub listener: Endpoint,
    /// `$connection`.
    pub serial: u64,
    /// Who answered on the listener when it was last looked for. They go on if a reload removes the listener.
    pub hosts: Option<Arc<VirtualHosts>>,
    /// It may begin with the preface of HTTP/2.
    pub h2c: bool,
    /// What its PROXY header said.
    pub proxied: Option<Box<Proxied>>,
    /// Whether it speaks TLS, and what that has brought out.
    pub security: Security,
}

impl Client {
    /// The listener in the present snapshot; `None`: a reload has removed it.
    #[inline]
    pub fn spec<'a>(&self, topology: &'a Topology) -> Option<&'a ListenerSpec> {
        topology.listener_again(&self.listener, self.hosts.as_ref())
    }

    /// Remembers who answers on the listener now, after a reload.
    fn look_again(&mut self, worker: &Worker) {
        let hosts = worker.with(|topology| {
            let hosts = &self.spec(topology)?.hosts;
            let known = self.hosts.as_ref().is_some_and(|known| Arc::ptr_eq(known, hosts));
            if known { None } else { Some(Arc::clone(hosts)) }
        });
        if hosts.is_some() {
            self.hosts = hosts;
        }
    }
}

/// A client's connection and what serves it; one of HTTP/2 has one of these for each of its streams.
pub struct Connection {
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// Its place there.
    pub seat: Seat,
    /// The socket, or a stream of HTTP/2.
    pub stream: Side,
    /// The one timer for all its waits.
    pub deadline: Deadline,
    /// Whom it serves.
    pub client: Client,
    /// Requests begun on it.
    pub requests: u64,
    /// How long it may be idle: as the server of its last request says.
    pub keepalive_timeout: Duration,
    /// Its PROXY header has not been read yet.
    pub expects_header: bool,
    /// Where its last request went, as most of a client's go to the same.
    pub route: Option<Arc<Route>>,
    /// What applications were told of the client.
    pub told: Option<Box<Told>>,
}

/// What becomes of a connection after a request.
pub enum After {
    /// The next request may come.
    KeepAlive,
    /// Nothing more to say: close, as soon as the client has no more to say either.
    Close,
    /// The client may still be sending: end our side, read a while, then close, so that it can read the answer.
    Linger,
    /// The answer was cut: a reset tells the client so.
    Reset,
    /// Both sides have agreed to speak another protocol.
    Tunnel(Box<Tunnel>),
}

/// Serves a client until either side has had enough.
pub fn serve(seat: Seat, accepted: Accepted, listener: ListenerSpec) -> impl Future<Output = ()> {
    let Accepted { stream, remote, local } = accepted;
    let worker = Rc::clone(&seat.worker);
    let ListenerSpec { address: listener, proxy_protocol: expects_header, hosts, h2c } = listener;
    let client = Client {
        remote,
        local: local.map_or_else(|| listener.clone(), Endpoint::Ip),
        serial: worker.next_serial(),
        hosts: Some(hosts),
        listener,
        h2c,
        proxied: None,
        security: Security::Plain,
    };
    let deadline = Deadline::new();
    let keepalive_timeout = worker.client_limits(&client, |limits| limits.keepalive_timeout);
    let stream = Side::Http1(stream);
    let opens = expects_header || client.hosts.as_ref().is_some_and(|hosts| hosts.is_tls());
    let connection = Connection {
        worker,
        seat,
        stream,
        deadline,
        client,
        requests: 0,
        keepalive_timeout,
        expects_header,
        route: None,
        told: None,
    };
    go_on(connection, opens)
}

/// Serves a client whose connection is new, or was idle. `opens`: something comes before its first request.
#[expect(clippy::manual_async_fn, reason = "it would keep the connection twice")]
pub(super) fn go_on(mut connection: Connection, opens: bool) -> impl Future<Output = ()> {
    // One block around one value, used in place: most connections are idle most of the time.
    async move {
        connection.seat.slot.occupy().await;
        // What is done now and then is boxed, so that an idle connection's task is small.
        let mut next = if opens { apart(|| connection.open()).await } else { Next::Request };
        while let Next::Request = next {
            next = match connection.readable().await {
                Idle::Speaks => in_place(|| connection.awake()).await,
                Idle::Parks { until } => Next::Pause { until },
                Idle::Ends => Next::Nothing,
            };
        }
        match next {
            Next::Request | Next::Nothing => {}
            Next::Pause { until } => connection.park(until),
            Next::Http2 { begun } => apart(|| http2::server::serve(connection, begun)).await,
            Next::Tunnel(mut tunnel) => {
                let after = poll_fn(|cx| tunnel.poll(cx, &mut connection)).await;
                drop(tunnel);
                apart(|| async { connection.close(after, &mut Buffer::default()).await }).await;
            }
        }
    }
}

/// What a connection is for from now on.
enum Next {
    /// A request of HTTP/1.1 may come.
    Request,
    /// HTTP/2, of which these bytes were read.
    Http2 { begun: Vec<u8> },
    /// What both sides have switched to.
    Tunnel(Box<Tunnel>),
    /// It takes no turns for a while.
    Pause { until: Timestamp },
    /// It ends.
    Nothing,
}

/// What came of waiting for a request.
enum Idle {
    /// Its first byte, or the end.
    Speaks,
    /// There may be none for so long that the connection is parked.
    Parks { until: Timestamp },
    /// Nobody will send one.
    Ends,
}

impl Connection {
    /// What comes before the first request: the PROXY header, and the handshake of TLS.
    async fn open(&mut self) -> Next {
        if self.expects_header && !self.proxy_header().await {
            return Next::Nothing;
        }
        let is_tls = self.client.hosts.as_ref().is_some_and(|hosts| hosts.is_tls());
        if is_tls && !self.secure().await {
            return Next::Nothing;
        }
        if self.stream.alpn() == Some(HTTP2) { Next::Http2 { begun: Vec::new() } } else { Next::Request }
    }

    /// Serves requests of HTTP/1.1, one after the other, as long as they come without a pause. A client that speaks HTTP/2
    /// is left to somebody else.
    async fn awake(&mut self) -> Next {
        let mut scratch = self.worker.spare.borrow_mut().take();
        if self.requests == 0 && self.client.h2c && apart(|| self.has_preface(&mut scratch.client_in)).await {
            let begun = scratch.client_in.data().to_vec();
            self.worker.spare.borrow_mut().put(scratch);
            return Next::Http2 { begun };
        }
        let next = match self.busy(&mut scratch).await {
            After::KeepAlive => Next::Request,
            After::Tunnel(tunnel) => Next::Tunnel(tunnel),
            after => {
                apart(|| self.close(after, &mut scratch.client_in)).await;
                Next::Nothing
            }
        };
        self.worker.spare.borrow_mut().put(scratch);
        next
    }

    /// Prepares the end that was decided on. `unread`: what was read and nobody has asked for.
    async fn close(&mut self, after: After, unread: &mut Buffer) {
        match after {
            After::Linger => self.linger(unread).await,
            // Closing with bytes unread would be a reset, which may destroy the answer.
            After::Close if !unread.is_empty() || !self.stream.looks_quiet() => self.linger(unread).await,
            After::Reset => self.stream.reset_on_close(),
            After::KeepAlive | After::Close | After::Tunnel(_) => {}
        }
    }

    /// Whether the client begins with the preface of HTTP/2, within `client_header_timeout`.
    async fn has_preface(&mut self, read: &mut Buffer) -> bool {
        self.deadline.set(self.worker.now(), self.header_timeout());
        let Connection { stream, deadline, .. } = self;
        poll_fn(|cx| {
            loop {
                let begun = read.len().min(http2::PREFACE.len());
                if read.data()[..begun] != http2::PREFACE[..begun] {
                    return Poll::Ready(false);
                }
                if begun == http2::PREFACE.len() {
                    return Poll::Ready(true);
                }
                match stream.poll_fill(read, cx, Buffer::STREAMING) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return deadline.poll(cx).map(|()| false),
                }
            }
        })
        .await
    }

    /// Whether a client that may speak either version has begun in neither.
    fn is_misspoken(&self, begun: &[u8]) -> bool {
        self.requests == 0 && self.client.h2c && !http2::is_http1(begun)
    }

    /// What did not begin as HTTP/1.1 must have begun with the preface of HTTP/2 (RFC 9113 §3.4).
    async fn refuse_preface(&mut self, scratch: &mut Scratch) -> After {
        tracing::debug!("{} began neither in HTTP/1.1 nor in HTTP/2", self.client.remote);
        scratch.to_client.extend_from_slice(http2::INVALID_PREFACE);
        let limit = self.worker.client_limits(&self.client, |limits| limits.send_timeout);
        match answer::write_all(self, scratch, limit).await {
            Ok(()) => After::Linger,
            Err(_) => After::Reset,
        }
    }

    /// Waits for the first byte of a request.
    async fn readable(&mut self) -> Idle {
        let since = self.seat.slot.begin_idle(self.worker.now());
        let first = self.requests == 0;
        let limit = if first { self.header_timeout() } else { self.keepalive_timeout };
        self.deadline.set(since, limit);
        poll_fn(|cx| {
            // First: what has come is served, whatever ends.
            if self.stream.poll_readable(cx).is_ready() {
                self.seat.slot.end_idle();
                return Poll::Ready(Idle::Speaks);
            }
            if self.is_ending() {
                if !first && self.worker.is_stopping() {
                    return Poll::Ready(Idle::Ends);
                }
                // Of a removed listener: since it was noticed, which the first turn after it does.
                let (from, limit) = match self.worker.is_draining() {
                    true => self.worker.last_call(since),
                    false => (self.worker.now(), ONE_MORE),
                };
                self.deadline.tighten(from, limit);
            } else if self.seat.slot.is_told_to_park()
                && self.stream.may_park()
                && let Some(until) = parking::stays_until(self.worker.now(), self.deadline.at())
            {
                return Poll::Ready(Idle::Parks { until });
            }
            self.deadline.poll(cx).map(|()| Idle::Ends)
        })
        .await
    }

    /// Serves requests as long as they come without a pause.
    async fn busy(&mut self, scratch: &mut Scratch) -> After {
        loop {
            // What is rare is boxed, so that a request that waits is a small future.
            let began = match self.head(scratch).await {
                Head::Whole { began } => began,
                Head::Nothing => return After::KeepAlive,
                Head::Gone => return After::Close,
                Head::TimedOut { began } => {
                    return apart(|| request::refuse_late(self, scratch, began)).await;
                }
                Head::Bad { .. } if self.is_misspoken(scratch.client_in.data()) => {
                    return apart(|| self.refuse_preface(scratch)).await;
                }
                Head::Bad { reject, began } => {
                    return apart(|| request::refuse(self, scratch, &reject, began)).await;
                }
            };
            self.requests += 1;
            match request::serve(self, scratch, began).await {
                After::KeepAlive if !scratch.client_in.is_empty() => {}
                after => return after,
            }
        }
    }

    /// Reads one whole head.
    async fn head(&mut self, scratch: &mut Scratch) -> Head {
        self.client.look_again(&self.worker);
        let (header_timeout, wire) = self.worker.client_limits(&self.client, |limits| {
            let (head, target) = (limits.max_head_size, limits.max_target_size);
            (limits.header_timeout, http1::Limits { head, target, ..http1::Limits::default() })
        });
        let mut began = None;
        scratch.request.clear();
        let Connection { stream, deadline, worker, .. } = self;
        poll_fn(|cx| {
            loop {
                if !scratch.client_in.is_empty() {
                    let began = *began.get_or_insert_with(|| {
                        let now = worker.now();
                        deadline.set(now, header_timeout);
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
                match stream.poll_fill(&mut scratch.client_in, cx, wire.head.saturating_add(EMPTY_LINES)) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Head::Gone),
                    Poll::Pending => match began {
                        // Woken for nothing.
                        None => return Poll::Ready(Head::Nothing),
                        Some(began) => {
                            if worker.is_draining() {
                                let (from, limit) = worker.last_call(worker.now());
                                deadline.tighten(from, limit);
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
    pub(super) fn is_ending(&self) -> bool {
        self.worker.is_draining() || self.worker.with(|topology| self.client.spec(topology).is_none())
    }

    /// How long a client may take for its first head, or what comes before it: as the listener's default server says.
    pub(super) fn header_timeout(&self) -> Duration {
        self.worker.client_limits(&self.client, |limits| limits.header_timeout)
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
                match stream.poll_fill(buffer, cx, Buffer::STREAMING) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => {
                        if worker.is_draining() {
                            let (from, limit) = worker.last_call(began);
                            deadline.tighten(from, limit);
                        }
                        return deadline.poll(cx);
                    }
                }
                // Asked here as well: of a client that never pauses the timer would not be heard.
                let now = worker.now();
                let (from, limit) = worker.last_call(began);
                if now.since(began) >= LINGER_IN_ALL || (worker.is_draining() && now.since(from) >= limit) {
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
        let task = size_of_future(|(seat, accepted, listener)| serve(seat, accepted, listener));
        println!("{task} of {}", size_of::<Connection>());
        assert!(task <= 480, "{task} bytes");
    }

    #[test]
    fn a_request_that_waits_fits_into_one_block() {
        // The allocator is fastest with blocks of up to 1 KiB.
        let awake = size_of_future(|connection: &'static mut Connection| connection.awake());
        println!("{awake}");
        assert!(awake <= 1024, "{awake} bytes");
    }
}
