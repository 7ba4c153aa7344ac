//! The answer on its way to the client: streamed with back-pressure, framed anew.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::attempt::{PeerConn, Rules};
use super::body::{Body, ClientEnd};
use super::connection::Connection;
use super::headers::Delivery;
use super::outcome::Trouble;
use super::scratch::Scratch;
use super::side;
use super::upload::{Side, Stopped, Upload};
use crate::http1::{Event, encode};
use crate::net::Buffer;
use crate::net::splice::Splice;
use crate::proxy::conversation::Speaker;
use crate::telemetry::Failure;

/// Chunks are joined until this many bytes wait to be written.
const JOIN: usize = 64 * 1024;

/// Bodies up to this many bytes are joined with what is sent before them.
const SMALL: usize = 4 * 1024;

/// One delivery of an answer. Its head is in `Scratch::to_client` when it begins.
#[derive(Debug)]
pub struct Relay {
    delivery: Delivery,
    /// How much of `Scratch::to_client` was sent.
    sent_of_out: usize,
    /// Bytes at the front of `Scratch::peer_in` that are data to be sent as they are.
    direct: usize,
    /// Where data goes that nobody need see, while there is much of it.
    splice: Splice,
    /// The peer has said all.
    ended: bool,
    /// The client's connection ends with the answer.
    pub closes: bool,
    /// Bytes given to the client's socket.
    pub sent: u64,
    /// Bytes of the body among what was made ready for the client.
    pub body: u64,
}

/// How a relay ended early.
#[derive(Debug)]
pub enum Cut {
    /// By the client.
    Client(ClientEnd),
    /// By the peer, in the midst of the body.
    Peer(Trouble),
}

impl Relay {
    /// A delivery whose head is in `Scratch::to_client`.
    pub fn new(delivery: Delivery) -> Relay {
        let (splice, ended) = (Splice::default(), delivery == Delivery::Empty);
        Relay { delivery, sent_of_out: 0, direct: 0, splice, ended, closes: false, sent: 0, body: 0 }
    }

    /// Takes what came with the head. Whether there is more to come.
    pub fn begin(&mut self, s: &mut Scratch) -> Result<bool, Cut> {
        self.decode(s)?;
        Ok(!self.ended)
    }

    /// Streams until the peer has said all; what was read of it may not be with the client yet: see
    /// [`Relay::flush`]. Meanwhile what is left of the request goes to the peer.
    pub async fn stream(
        &mut self,
        conn: &mut Connection,
        s: &mut Scratch,
        peer: &mut PeerConn,
        upload: &mut Upload,
        body: &mut Body,
        rules: Rules<'_>,
    ) -> Result<(), Cut> {
        let mut waits = Waits::Nobody;
        let Connection { stream: client, deadline, worker, .. } = conn;
        poll_fn(|cx| {
            let mut progress = false;
            if !upload.is_done() {
                match upload.poll(cx, client, &mut peer.stream, s, body, &mut progress) {
                    Poll::Pending | Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(Stopped::Peer(_))) => upload.give_up(),
                    Poll::Ready(Err(Stopped::Client(end))) => return Poll::Ready(Err(Cut::Client(end))),
                }
            }
            let wants_body = !upload.is_done() && upload.waits_for() == Side::Client;
            let now_waits = match self.poll_once(cx, client, &mut peer.stream, s, &mut progress) {
                Poll::Ready(end) => return Poll::Ready(end),
                Poll::Pending if self.has_pending(s) => Waits::ClientTakes,
                // An answer that is made from the request cannot go on without it.
                Poll::Pending if wants_body => Waits::ClientBody,
                Poll::Pending => Waits::Peer,
            };
            if !wants_body && client.has_left(cx, &mut s.client_in) {
                return Poll::Ready(Err(Cut::Client(ClientEnd::Gone)));
            }
            if progress || now_waits != waits {
                waits = now_waits;
                deadline.set(worker.now(), waits.limit(rules));
            }
            deadline.poll(cx).map(|()| {
                Err(match waits {
                    Waits::ClientTakes | Waits::ClientBody => Cut::Client(ClientEnd::TimedOut),
                    Waits::Peer | Waits::Nobody => Cut::Peer(Trouble::late(Failure::ReadTimeout, rules.proxy)),
                })
            })
        })
        .await
    }

    /// Writes what is left to the client.
    pub async fn flush(&mut self, conn: &mut Connection, s: &mut Scratch, rules: Rules<'_>) -> Result<(), ClientEnd> {
        let Connection { stream: client, deadline, worker, .. } = conn;
        let (mut begun, mut waiting) = (false, false);
        poll_fn(|cx| {
            // What is sent goes out after the others have thought; what goes into a stream, with what the others of its connection
            // have.
            if !std::mem::replace(&mut begun, true) && !client.is_http2() && worker.crew.steps_aside(cx) {
                return Poll::Pending;
            }
            let mut progress = false;
            let written = match self.poll_write(cx, client, s, &mut progress) {
                Poll::Ready(Ok(())) => {
                    // Before the flush: the last piece may say that it is the last.
                    if self.ended {
                        client.finish(s.body_out.trailers());
                    }
                    client.poll_flush(cx).map_err(|_| ClientEnd::Gone)
                }
                other => other,
            };
            match written {
                Poll::Ready(Ok(())) if self.ended && self.closes => {
                    client.end_now();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(end) => return Poll::Ready(end),
                Poll::Pending if progress || !waiting => {
                    waiting = true;
                    deadline.set(worker.now(), rules.client.send_timeout);
                }
                Poll::Pending => {}
            }
            deadline.poll(cx).map(|()| Err(ClientEnd::TimedOut))
        })
        .await
    }

    /// Whether nothing came behind the answer: its connection can be used again.
    pub fn took_all(&self, s: &Scratch) -> bool {
        s.peer_in.len() == self.direct
    }

    fn has_pending(&self, s: &Scratch) -> bool {
        self.direct > 0 || self.sent_of_out < s.to_client.len() || !self.splice.is_empty()
    }

    /// Moves bytes until either side makes it wait. Ready when the peer has said all.
    fn poll_once(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut side::Side,
        peer: &mut side::Side,
        s: &mut Scratch,
        progress: &mut bool,
    ) -> Poll<Result<(), Cut>> {
        loop {
            self.decode(s)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.has_pending(s) {
                ready!(self.poll_write(cx, client, s, progress)).map_err(Cut::Client)?;
                continue;
            }
            // What the client's kernel has not taken goes on going out; an error is found by the next write.
            let _ = client.poll_flush(cx);
            match ready!(self.poll_fill(cx, client, peer, s)) {
                Ok(1..) => *progress = true,
                Ok(0) => match peer.eof(&mut s.body_out) {
                    Ok(()) => {
                        self.end(s);
                        return Poll::Ready(Ok(()));
                    }
                    Err(_) => return Poll::Ready(Err(Cut::Peer(Trouble::new(Failure::Closed, CUT)))),
                },
                Err(error) => {
                    return Poll::Ready(Err(Cut::Peer(peer.trouble(Failure::Closed, &error))));
                }
            }
        }
    }

    /// Takes more of the body: splices it if there is much of it that is passed on as it is, or else reads it.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        client: &side::Side,
        peer: &mut side::Side,
        s: &mut Scratch,
    ) -> Poll<io::Result<usize>> {
        if self.body > 0 {
            // Between two chunks nothing is data for certain.
            let left = if self.delivery == Delivery::Chunked { 0 } else { s.body_out.remaining_data() };
            match self.splice.poll_fill(cx, peer.connection(), client.connection(), left) {
                Some(Poll::Ready(filled)) => {
                    let n = filled?;
                    s.body_out.pass(n as u64);
                    self.body += n as u64;
                    // A length is over with its last byte.
                    self.ended = s.body_out.is_done();
                    return Poll::Ready(Ok(n));
                }
                Some(Poll::Pending) => {
                    s.peer_in.rest();
                    return Poll::Pending;
                }
                None => s.peer_in.expect_bulk(),
            }
        }
        peer.poll_fill(&mut s.peer_in, cx, Buffer::STREAMING)
    }

    /// Turns what was read into what is to be written, as far as that is bounded.
    fn decode(&mut self, s: &mut Scratch) -> Result<(), Cut> {
        while !self.ended && self.direct == 0 && s.to_client.len() - self.sent_of_out < JOIN {
            let decoded = match s.body_out.decode(s.peer_in.data()) {
                Ok(decoded) => decoded,
                Err(error) => {
                    return Err(Cut::Peer(Trouble::new(Failure::Malformed, format!("malformed body: {error}"))));
                }
            };
            match decoded.event {
                Event::Data(range) => {
                    self.body += range.len() as u64;
                    if self.delivery == Delivery::Chunked {
                        encode::chunk(&mut s.to_client, &s.peer_in.data()[range]);
                        s.peer_in.consume(decoded.consumed);
                    } else if range.len() <= SMALL && self.has_pending(s) {
                        // One buffer is cheaper to send than two, as long as it is cheaper to copy.
                        s.to_client.extend_from_slice(&s.peer_in.data()[range]);
                        s.peer_in.consume(decoded.consumed);
                        self.ended = s.body_out.is_done();
                    } else {
                        debug_assert_eq!(range.end, decoded.consumed);
                        self.direct = range.len();
                        s.peer_in.consume(range.start);
                        // A length is over with its last byte; there is no end to wait for.
                        self.ended = s.body_out.is_done();
                    }
                }
                Event::End => {
                    s.peer_in.consume(decoded.consumed);
                    self.end(s);
                }
                Event::NeedMore => {
                    s.peer_in.consume(decoded.consumed);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, s: &mut Scratch) {
        if self.delivery == Delivery::Chunked && !self.ended {
            encode::last_chunk(&mut s.to_client, s.body_out.trailers());
        }
        self.ended = true;
    }

    /// Writes until nothing is pending.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut side::Side,
        s: &mut Scratch,
        progress: &mut bool,
    ) -> Poll<Result<(), ClientEnd>> {
        while self.has_pending(s) {
            if let Some(drained) = self.splice.poll_drain(cx, client.connection()) {
                let Ok(n) = ready!(drained) else { return Poll::Ready(Err(ClientEnd::Gone)) };
                *progress = true;
                self.sent += n as u64;
                continue;
            }
            let slices =
                [IoSlice::new(&s.to_client[self.sent_of_out..]), IoSlice::new(&s.peer_in.data()[..self.direct])];
            let slices = match (slices[0].is_empty(), slices[1].is_empty()) {
                (true, _) => &slices[1..],
                (_, true) => &slices[..1],
                _ => &slices[..],
            };
            let written = match self.ended && self.closes {
                true => client.poll_write_last(cx, slices),
                false => client.poll_write(cx, slices),
            };
            let n = match ready!(written) {
                Ok(n) => n,
                Err(_) => return Poll::Ready(Err(ClientEnd::Gone)),
            };
            *progress = true;
            self.sent += n as u64;
            let of_out = n.min(s.to_client.len() - self.sent_of_out);
            self.sent_of_out += of_out;
            self.direct -= n - of_out;
            s.peer_in.consume(n - of_out);
            if self.sent_of_out == s.to_client.len() {
                s.to_client.clear();
                self.sent_of_out = 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nobody,
    ClientTakes,
    ClientBody,
    Peer,
}

impl Waits {
    fn limit(self, rules: Rules<'_>) -> Duration {
        match self {
            Waits::ClientTakes => rules.client.send_timeout,
            Waits::ClientBody => rules.client.body_timeout,
            Waits::Peer | Waits::Nobody => rules.proxy.read_timeout,
        }
    }
}

/// A body that is shorter than its framing says.
const CUT: &str = "closed the connection within the body of its answer";
