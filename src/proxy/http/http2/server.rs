//! One client's connection of HTTP/2: its streams, each an exchange of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use super::heads;
use super::stream::Stream;
use super::tap::{Tap, Watch};
use super::{SEND_BUFFER, STREAM_WINDOW};
use crate::clock::Timestamp;
use crate::config::model::ClientLimits;
use crate::http1;
use crate::net::Deadline;
use crate::proxy::http::connection::{After, Client, Connection};
use crate::proxy::http::side::Side;
use crate::proxy::http::{grpc, in_place, request};
use crate::proxy::worker::{Slot, Worker};

/// Bytes that all streams of a client may send before they are taken: what its connection can make weir hold.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How long a connection may take to end, once nothing is in flight on it any more.
const LINGER: Duration = Duration::from_secs(5);
/// The same when weir stops.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A client's connection.
struct Session {
    worker: Rc<Worker>,
    client: Client,
    limits: ClientLimits,
    h2: h2::server::Connection<Tap, Bytes>,
    watch: Rc<Watch>,
    deadline: Deadline,
    /// Its streams in flight, and how they wake it.
    live: Rc<Live>,
    /// Streams that were begun.
    requests: u64,
    /// The client was told to send no further requests.
    ending: bool,
    /// The client broke a rule, or sent too much of little use: it was told so.
    broken: bool,
    /// What `idle` saw last.
    seen: (usize, u64),
}

/// How many streams of a connection are in flight.
struct Live {
    count: Cell<usize>,
    slot: Rc<Slot>,
}

/// One of them.
struct InFlight(Rc<Live>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0 {
            self.0.slot.wake();
        }
    }
}

/// Serves a client that speaks HTTP/2. `begun`: what was already read of it.
pub async fn serve(connection: Connection, begun: Vec<u8>) {
    let Connection { worker, seat, stream, mut deadline, client, .. } = connection;
    let Side::Http1(stream) = stream else { return };
    let limits = worker.client_limits(&client, ClientLimits::clone);
    let watch = Watch::new(&worker);
    let tap = Tap::new(stream, begun, Rc::clone(&worker), Rc::clone(&watch));
    deadline.set(worker.now(), limits.header_timeout);
    let mut handshake = pin!(builder(&limits).handshake(tap));
    let shaken = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(h2) => Poll::Ready(h2.ok()),
        Poll::Pending => deadline.poll(cx).map(|()| None),
    });
    let Some(h2) = shaken.await else { return };
    let live = Rc::new(Live { count: Cell::new(0), slot: Rc::clone(&seat.slot) });
    let mut session = Session {
        worker,
        client,
        limits,
        h2,
        watch,
        deadline,
        live,
        requests: 0,
        ending: false,
        broken: false,
        seen: (1, 0),
    };
    poll_fn(|cx| session.poll(cx)).await;
}

fn builder(limits: &ClientLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.http2_max_concurrent_streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.max_head_size).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

impl Session {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.ending && (self.is_leaving() || self.requests >= self.limits.keepalive_requests) {
                self.end();
            }
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!("HTTP/2 connection of {}: {error}", self.client.remote);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => match self.watch.fault() {
                    Some(reason) if !self.broken => {
                        self.give_up(reason);
                        if reason == Reason::ENHANCE_YOUR_CALM {
                            // Its last words are for a client that reads; nobody waits for one that does not.
                            let _ = self.h2.poll_accept(cx);
                            return Poll::Ready(());
                        }
                    }
                    _ => return self.poll_idle(cx),
                },
            }
        }
    }

    /// Weir stops, or no longer listens where the connection came from.
    fn is_leaving(&self) -> bool {
        self.worker.is_draining() || self.worker.with(|topology| self.client.spec(topology).is_none())
    }

    /// GOAWAY: nothing is finished.
    fn give_up(&mut self, reason: Reason) {
        let client = self.client.remote;
        match reason {
            Reason::ENHANCE_YOUR_CALM => {
                tracing::info!("{client} floods its HTTP/2 connection with frames: it is closed");
            }
            _ => tracing::debug!("HTTP/2 connection of {client}: {}", reason.description()),
        }
        (self.broken, self.ending) = (true, true);
        self.h2.abrupt_shutdown(reason);
        self.seen.0 = usize::MAX;
    }

    /// GOAWAY: what is in flight is finished, nothing new is begun.
    fn end(&mut self) {
        self.ending = true;
        self.h2.graceful_shutdown();
        self.seen.0 = usize::MAX;
    }

    /// Everything was said. The client is given time to end its side.
    fn poll_last(&mut self, since: Timestamp, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline.set(since, LINGER);
        if self.worker.is_draining() {
            let (from, limit) = self.worker.last_call(since);
            self.deadline.tighten(from, limit);
        }
        self.deadline.poll(cx)
    }

    /// Nothing happens just now: ends what has been idle too long. A client that still reads is not idle.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(since) = self.watch.closing_since() {
            return self.poll_last(since, cx);
        }
        let live = self.live.count.get();
        let seen = (live, self.watch.written());
        if live > 0 {
            self.seen = seen;
            return Poll::Pending;
        }
        if seen != self.seen {
            self.seen = seen;
            let limit = match (self.ending, self.requests) {
                (true, _) if self.worker.is_draining() => LAST_CALL,
                (true, _) => LINGER,
                (false, 0) => self.limits.header_timeout,
                (false, _) => self.limits.keepalive_timeout,
            };
            self.deadline.set(self.worker.now(), limit);
        }
        if self.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.ending {
            return Poll::Ready(());
        }
        self.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Begins the exchange of one stream.
    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.requests += 1;
        self.live.count.set(self.live.count.get() + 1);
        let in_flight = InFlight(Rc::clone(&self.live));
        let (head, body) = request.into_parts();
        let open = !body.is_end_stream();
        let seat = self.worker.seat();
        let connection = Connection {
            worker: Rc::clone(&self.worker),
            stream: Side::Http2(Box::new(Stream::of_client(body, respond))),
            deadline: Deadline::new(),
            client: self.client.clone(),
            requests: self.requests,
            keepalive_timeout: self.limits.keepalive_timeout,
            expects_header: false,
            route: None,
            told: None,
            seat,
        };
        let limits = http1::Limits {
            head: self.limits.max_head_size,
            target: self.limits.max_target_size,
            ..http1::Limits::default()
        };
        let head = Request::from_parts(head, ());
        // In one place from its beginning: a task that had it in itself would be moved with it.
        let begun = Box::new(Begun { connection, head, open, limits, _in_flight: in_flight });
        self.worker.crew.spawn(exchange(begun));
    }
}

/// The request of one stream.
struct Begun {
    connection: Connection,
    head: Request<()>,
    /// There is more than its head.
    open: bool,
    limits: http1::Limits,
    _in_flight: InFlight,
}

/// Serves the request of one stream.
async fn exchange(mut begun: Box<Begun>) {
    let Begun { connection, head, open, limits, .. } = &mut *begun;
    connection.seat.slot.occupy().await;
    let began = connection.worker.now();
    let mut scratch = connection.worker.spare.borrow_mut().take();
    let after = match heads::compose(&mut scratch.request, head, *open, limits) {
        Ok(()) => {
            if let (true, Some(limit)) = (grpc::is_call(&scratch.request), grpc::timeout(&scratch.request)) {
                connection.deadline.bound(began + limit);
            }
            in_place(|| request::serve(connection, &mut scratch, began)).await
        }
        Err(reject) => Box::pin(request::refuse(connection, &mut scratch, &reject, began)).await,
    };
    connection.worker.spare.borrow_mut().put(scratch);
    if let After::Tunnel(mut tunnel) = after {
        poll_fn(|cx| tunnel.poll(cx, connection)).await;
    }
    // What was not ended was cut.
    connection.stream.reset_on_close();
}
