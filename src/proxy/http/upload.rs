//! The request on its way to a peer: its head, what was gathered of its body, and the rest as the client sends it.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::body::{Body, ClientEnd};
use super::scratch::Scratch;
use super::side;
use crate::http1::{Event, Framing, encode};
use crate::net::Buffer;
use crate::net::splice::Splice;
use crate::proxy::conversation::Speaker;

/// How a body is framed towards the peer.
pub fn outgoing(body: &Body, s: &Scratch) -> Framing {
    match body.framing {
        Framing::Chunked if body.complete && s.body_in.trailers().is_empty() => {
            Framing::Length(s.gathered.len() as u64)
        }
        other => other,
    }
}

/// One sending of a request.
#[derive(Debug)]
pub struct Upload {
    chunked: bool,
    /// How much of `Scratch::to_peer` was sent.
    head_at: usize,
    /// How much of `Scratch::gathered` was sent.
    body_at: usize,
    /// Bytes at the front of `Scratch::client_in` that are data to be sent as they are.
    direct: usize,
    /// Where data goes that nobody need see, while there is much of it.
    splice: Splice,
    /// Nothing more will be added to what is to be sent.
    ended: bool,
    /// All was sent, or the peer takes no more.
    done: bool,
    /// The peer stopped reading before it had all.
    cut: bool,
    /// A byte was given to the kernel.
    wrote: bool,
    waits_for: Side,
}

/// Whom a pending upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client is to send.
    Client,
    /// The peer is to take.
    Peer,
}

/// How an upload ended early.
#[derive(Debug)]
pub enum Stopped {
    /// The client's fault.
    Client(ClientEnd),
    /// The peer does not take more.
    Peer(io::Error),
}

impl Upload {
    /// One of nothing yet.
    pub fn new() -> Upload {
        Upload {
            chunked: false,
            head_at: 0,
            body_at: 0,
            direct: 0,
            splice: Splice::default(),
            ended: false,
            done: false,
            cut: false,
            wrote: false,
            waits_for: Side::Peer,
        }
    }

    /// The sending of a request without a body, which is done.
    pub fn sent() -> Upload {
        Upload { ended: true, done: true, wrote: true, ..Upload::new() }
    }

    /// Is to send what is in `s.to_peer` (the head) and `s.gathered`, and then the rest of `body`.
    pub fn begin(&mut self, s: &mut Scratch, body: &Body, peer: &mut side::Side) {
        self.chunked = !peer.is_http2() && outgoing(body, s) == Framing::Chunked;
        self.ended = body.complete;
        peer.announce(body.complete && s.gathered.is_empty() && s.body_in.trailers().is_empty());
        if self.chunked {
            encode::chunk(&mut s.to_peer, &s.gathered);
            self.body_at = s.gathered.len();
            if body.complete {
                encode::last_chunk(&mut s.to_peer, s.body_in.trailers());
            }
        }
    }

    /// Whether a byte may have reached the peer.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the peer got all of it.
    pub fn is_whole(&self) -> bool {
        self.done && !self.cut
    }

    /// Whom it waits for.
    pub fn waits_for(&self) -> Side {
        self.waits_for
    }

    /// The peer reads no more: what is left of the request is not its concern.
    pub fn give_up(&mut self) {
        self.cut |= !self.done;
        self.done = true;
    }

    /// Sends as much as goes. `progress` is set when bytes moved.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut side::Side,
        peer: &mut side::Side,
        s: &mut Scratch,
        body: &mut Body,
        progress: &mut bool,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            if self.head_at < s.to_peer.len() || self.body_at < s.gathered.len() {
                self.waits_for = Side::Peer;
                let slices = [IoSlice::new(&s.to_peer[self.head_at..]), IoSlice::new(&s.gathered[self.body_at..])];
                let slices = if slices[1].is_empty() { &slices[..1] } else { &slices[..] };
                let n = ready!(peer.poll_write(cx, slices)).map_err(Stopped::Peer)?;
                let of_head = n.min(s.to_peer.len() - self.head_at);
                self.head_at += of_head;
                self.body_at += n - of_head;
                self.wrote = true;
                *progress = true;
            } else if self.direct > 0 {
                self.waits_for = Side::Peer;
                let data = IoSlice::new(&s.client_in.data()[..self.direct]);
                let n = ready!(peer.poll_write(cx, &[data])).map_err(Stopped::Peer)?;
                s.client_in.consume(n);
                self.direct -= n;
                *progress = true;
            } else if let Some(drained) = self.splice.poll_drain(cx, peer.connection()) {
                self.waits_for = Side::Peer;
                ready!(drained).map_err(Stopped::Peer)?;
                *progress = true;
            } else if self.ended {
                self.waits_for = Side::Peer;
                // Before the flush: the last piece may say that it is the last.
                peer.finish(s.body_in.trailers());
                ready!(peer.poll_flush(cx)).map_err(Stopped::Peer)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            } else {
                // What the peer's kernel has not taken goes on going out; an error is found by the next write.
                let _ = peer.poll_flush(cx);
                ready!(self.poll_more(cx, client, peer, s, body, progress)).map_err(Stopped::Client)?;
            }
        }
    }

    /// Splices the body if there is much of it that is passed on as it is, or else reads it.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut side::Side,
        peer: &side::Side,
        s: &mut Scratch,
        body: &mut Body,
    ) -> Poll<io::Result<usize>> {
        // Between two chunks nothing is data for certain.
        let left = if body.streamed && !self.chunked { s.body_in.remaining_data() } else { 0 };
        match self.splice.poll_fill(cx, client.connection(), peer.connection(), left) {
            Some(Poll::Ready(filled)) => {
                let n = filled?;
                s.body_in.pass(n as u64);
                body.received += n as u64;
                Poll::Ready(Ok(n))
            }
            Some(Poll::Pending) => {
                s.client_in.rest();
                Poll::Pending
            }
            None => {
                if body.received > s.gathered.len() as u64 {
                    s.client_in.expect_bulk();
                }
                client.poll_fill(&mut s.client_in, cx, Buffer::STREAMING)
            }
        }
    }

    /// Takes more of the body from the client.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut side::Side,
        peer: &side::Side,
        s: &mut Scratch,
        body: &mut Body,
        progress: &mut bool,
    ) -> Poll<Result<(), ClientEnd>> {
        let decoded = s.body_in.decode(s.client_in.data()).map_err(ClientEnd::Bad)?;
        match decoded.event {
            Event::Data(range) if !body.streamed && s.gathered.len() + range.len() <= body.live => {
                body.take(range.len())?;
                s.gathered.extend_from_slice(&s.client_in.data()[range]);
                if self.chunked {
                    s.to_peer.clear();
                    self.head_at = 0;
                    encode::chunk(&mut s.to_peer, &s.gathered[self.body_at..]);
                    self.body_at = s.gathered.len();
                }
                s.client_in.consume(decoded.consumed);
            }
            Event::Data(range) => {
                body.streamed = true;
                body.take(range.len())?;
                if self.chunked {
                    s.to_peer.clear();
                    self.head_at = 0;
                    encode::chunk(&mut s.to_peer, &s.client_in.data()[range]);
                    s.client_in.consume(decoded.consumed);
                } else {
                    self.direct = range.len();
                    s.client_in.consume(range.start);
                    debug_assert_eq!(range.end, decoded.consumed);
                }
                // A length is over with its last byte.
                self.ended = !self.chunked && s.body_in.is_done();
            }
            Event::End => {
                s.client_in.consume(decoded.consumed);
                self.ended = true;
                body.complete = true;
                if self.chunked {
                    s.to_peer.clear();
                    self.head_at = 0;
                    encode::last_chunk(&mut s.to_peer, s.body_in.trailers());
                }
            }
            Event::NeedMore => {
                s.client_in.consume(decoded.consumed);
                self.waits_for = Side::Client;
                match ready!(self.poll_fill(cx, client, peer, s, body)) {
                    Ok(1..) => {
                        *progress = true;
                        // A length is over with its last byte.
                        self.ended = !self.chunked && s.body_in.is_done();
                    }
                    Ok(0) if client.eof(&mut s.body_in).is_ok() => *progress = true,
                    Ok(0) | Err(_) => return Poll::Ready(Err(ClientEnd::Gone)),
                }
            }
        }
        if self.ended {
            body.complete = true;
        }
        Poll::Ready(Ok(()))
    }
}
