//! One try at one peer: a connection, the request, and the head of the answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};

use super::body::{Body, ClientEnd};
use super::connection::Connection;
use super::headers;
use super::outcome::Trouble;
use super::scratch::Scratch;
use super::upload::{Side, Stopped, Upload};
use crate::clock::Timestamp;
use crate::config::model::{ClientLimits, ProxySettings};
use crate::http1::{Limits, Progress, Version};
use crate::net::{Buffer, Reuse, Stream};
use crate::telemetry::Failure;

/// How many bytes a client may send ahead of its answer before it must wait.
const AHEAD: usize = 16 * 1024;

/// A connection to a peer in the hands of an attempt.
#[derive(Debug)]
pub struct PeerConn {
    /// The socket.
    pub stream: Stream,
    /// Its history.
    pub reuse: Reuse,
    /// It came from the pool, and has not answered since.
    pub pooled: bool,
}

/// How an attempt ended without a head.
#[derive(Debug)]
pub enum End {
    /// The client's doing.
    Client(ClientEnd),
    /// The peer's.
    Peer(Trouble),
}

/// What the waits of a request go by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Towards the peer.
    pub proxy: &'a ProxySettings,
    /// Towards the client.
    pub client: &'a ClientLimits,
}

/// Whether the client has left. Takes what it sends ahead, up to a bound.
pub fn client_left(cx: &mut Context<'_>, client: &mut Stream, ahead: &mut Buffer) -> bool {
    while ahead.has_room(AHEAD) && client.poll_readable(cx).is_ready() {
        match ahead.poll_fill(client, cx, AHEAD) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(Ok(0) | Err(_)) => return true,
            Poll::Pending => return false,
        }
    }
    false
}

/// Opens a connection to `address` within `proxy_connect_timeout`.
pub async fn connect(
    conn: &mut Connection,
    s: &mut Scratch,
    address: SocketAddr,
    proxy: &ProxySettings,
) -> Result<PeerConn, End> {
    let began = conn.worker.clock.now();
    conn.deadline.set(began, proxy.connect_timeout);
    let mut connecting = pin!(Stream::connect(address));
    poll_fn(|cx| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            let reuse = Reuse { opened: began, requests: 0, promised: None };
            return Poll::Ready(match connected {
                Ok(stream) => Ok(PeerConn { stream, reuse, pooled: false }),
                Err(error) => Err(End::Peer(Trouble::connect(&error))),
            });
        }
        if conn.seat.slot.is_abandoned() {
            return Poll::Ready(Err(End::Peer(abandoned())));
        }
        if client_left(cx, &mut conn.stream, &mut s.client_in) {
            return Poll::Ready(Err(End::Client(ClientEnd::Gone)));
        }
        conn.deadline.poll(cx).map(|()| Err(End::Peer(Trouble::late(Failure::ConnectTimeout, proxy))))
    })
    .await
}

/// What came with a head.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When the head was whole.
    pub at: Timestamp,
}

/// Sends the request and waits for the head of the answer, which is then in `s.response`. What the client may see
/// before that (1xx) is passed on; `interim` tells whether anything was.
pub async fn exchange(
    conn: &mut Connection,
    s: &mut Scratch,
    peer: &mut PeerConn,
    upload: &mut Upload,
    body: &mut Body,
    rules: Rules<'_>,
    interim: &mut bool,
) -> Result<Answered, End> {
    let limits = Limits { head: rules.proxy.max_response_head, ..Limits::default() };
    s.response.clear();
    s.peer_in.clear();
    let mut waits = Waits::Nobody;
    let Connection { stream: client, deadline, seat, worker, .. } = conn;
    let speaks_11 = s.request.version() == Version::Http11;
    let mut told = 0;
    let mut interims = 0;
    let mut send_error = None;
    let end = poll_fn(|cx| {
        let mut progress = false;
        if seat.slot.is_abandoned() {
            return Poll::Ready(Err(End::Peer(abandoned())));
        }
        if !upload.is_done() {
            match upload.poll(cx, client, &mut peer.stream, s, body, &mut progress) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Stopped::Client(end))) => return Poll::Ready(Err(End::Client(end))),
                Poll::Ready(Err(Stopped::Peer(error))) => {
                    // It may have answered before it closed: 413, say. What it said, or that it said nothing, comes
                    // by reading, which the socket's error wakes, though not always in this very poll.
                    upload.give_up();
                    send_error = Some(error);
                }
            }
        }
        // The head, after any number of interim ones.
        loop {
            if !s.peer_in.is_empty() {
                match s.response.parse(s.peer_in.data(), &limits) {
                    Err(reject) => {
                        return Poll::Ready(Err(End::Peer(Trouble::new(
                            Failure::Malformed,
                            format!("malformed answer: {reject}"),
                        ))));
                    }
                    Ok(Progress::Complete { consumed }) => {
                        s.peer_in.consume(consumed);
                        if s.response.status() == 101 {
                            // Upgrade never reaches a peer, so it switches to what nobody asked for.
                            let words = "malformed answer: it switches protocols unasked";
                            return Poll::Ready(Err(End::Peer(Trouble::new(Failure::Malformed, words))));
                        }
                        if !s.response.is_interim() {
                            return Poll::Ready(Ok(Answered { at: worker.clock.now() }));
                        }
                        interims += 1;
                        if interims > MAX_INTERIM {
                            let words = "malformed answer: too many interim answers";
                            return Poll::Ready(Err(End::Peer(Trouble::new(Failure::Malformed, words))));
                        }
                        // 100 was answered by weir itself, as soon as it wanted the body.
                        if speaks_11 && s.response.status() != 100 {
                            headers::write_interim(&mut s.to_client, &s.response);
                            *interim = true;
                        }
                        s.response.clear();
                        progress = true;
                        continue;
                    }
                    Ok(Progress::Partial) => {}
                }
            }
            match s.peer_in.poll_fill(&mut peer.stream, cx, limits.head + 4) {
                Poll::Ready(Ok(1..)) => progress = true,
                Poll::Ready(Ok(0)) => {
                    let failure = if send_error.is_some() { Failure::Send } else { Failure::Closed };
                    let words = if s.peer_in.is_empty() {
                        "closed the connection without an answer"
                    } else {
                        "closed the connection within the head of its answer"
                    };
                    return Poll::Ready(Err(End::Peer(Trouble::new(failure, words))));
                }
                Poll::Ready(Err(error)) => {
                    let trouble = match &send_error {
                        Some(first) => Trouble::broken(Failure::Send, first),
                        None => Trouble::broken(Failure::Closed, &error),
                    };
                    return Poll::Ready(Err(End::Peer(trouble)));
                }
                Poll::Pending => break,
            }
        }
        // Interim answers go out as they come.
        while told < s.to_client.len() {
            match client.poll_write_vectored(cx, &[std::io::IoSlice::new(&s.to_client[told..])]) {
                Poll::Ready(Ok(n)) => told += n,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Client(ClientEnd::Gone))),
                Poll::Pending => break,
            }
        }
        if told == s.to_client.len() {
            told = 0;
            s.to_client.clear();
        }
        if upload.is_done() && client_left(cx, client, &mut s.client_in) {
            return Poll::Ready(Err(End::Client(ClientEnd::Gone)));
        }
        let now_waits = Waits::of(upload);
        if progress || now_waits != waits {
            waits = now_waits;
            deadline.set(worker.clock.now(), waits.limit(rules));
        }
        deadline.poll(cx).map(|()| Err(waits.expired(rules)))
    })
    .await;
    s.to_client.drain(..told);
    end
}

/// Interim answers that one request may get.
const MAX_INTERIM: u32 = 16;

/// Whom an exchange waits for, which decides the time-out and whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nobody,
    ClientBody,
    PeerTakes,
    PeerAnswers,
}

impl Waits {
    fn of(upload: &Upload) -> Waits {
        match (upload.is_done(), upload.waits_for()) {
            (true, _) => Waits::PeerAnswers,
            (false, Side::Client) => Waits::ClientBody,
            (false, Side::Peer) => Waits::PeerTakes,
        }
    }

    fn limit(self, rules: Rules<'_>) -> std::time::Duration {
        match self {
            Waits::ClientBody => rules.client.body_timeout,
            Waits::PeerTakes => rules.proxy.send_timeout,
            Waits::PeerAnswers | Waits::Nobody => rules.proxy.read_timeout,
        }
    }

    fn expired(self, rules: Rules<'_>) -> End {
        match self {
            Waits::ClientBody => End::Client(ClientEnd::TimedOut),
            Waits::PeerTakes => End::Peer(Trouble::late(Failure::SendTimeout, rules.proxy)),
            Waits::PeerAnswers | Waits::Nobody => End::Peer(Trouble::late(Failure::ReadTimeout, rules.proxy)),
        }
    }
}

fn abandoned() -> Trouble {
    Trouble::new(Failure::Abandoned, "found unreachable by its health check meanwhile")
}
