//! A request's body: how it comes, how much of it was gathered, and whether it can still be sent again.

use std::future::poll_fn;
use std::task::Poll;

use super::connection::Connection;
use super::scratch::Scratch;
use crate::config::model::ClientLimits;
use crate::http1::{BodyError, Event, Framing};

/// A request's body.
#[derive(Debug)]
pub struct Body {
    /// As the client frames it.
    pub framing: Framing,
    /// All of it was taken from the client.
    pub complete: bool,
    /// Bytes beyond what was gathered were taken, and cannot be taken again.
    pub streamed: bool,
    /// Decoded bytes taken so far.
    pub received: u64,
    /// `client_max_body_size`; 0: any.
    pub limit: u64,
    /// Bytes that are gathered while they are sent, not before: what a call of gRPC says next may depend on an answer.
    pub live: usize,
}

/// Why a client's part of the exchange ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEnd {
    /// It closed or reset the connection.
    Gone,
    /// It took longer than `client_body_timeout`.
    TimedOut,
    /// Its body is malformed.
    Bad(BodyError),
    /// Its body exceeds `client_max_body_size`.
    TooLarge,
    /// It asked for a WebSocket in a way that nobody may agree to.
    NoHandshake,
}

impl Body {
    /// The body of a request with this framing.
    pub fn new(framing: Framing, limit: u64) -> Body {
        Body { framing, complete: framing == Framing::None, streamed: false, received: 0, limit, live: 0 }
    }

    /// Whether the whole of it can be sent again.
    pub fn replayable(&self) -> bool {
        !self.streamed
    }

    /// Whether a body of this length is within the limit.
    pub fn allows(&self, length: u64) -> bool {
        self.limit == 0 || length <= self.limit
    }

    /// Takes note of `n` decoded bytes.
    ///
    /// # Errors
    /// If they exceed the limit.
    pub fn take(&mut self, n: usize) -> Result<(), ClientEnd> {
        self.received += n as u64;
        if self.allows(self.received) { Ok(()) } else { Err(ClientEnd::TooLarge) }
    }
}

/// Gathers the body until it is complete or fills `client_body_buffer_size`, so that a slow client does not occupy a
/// peer. Of a live one what has come is enough.
pub async fn gather(
    conn: &mut Connection,
    s: &mut Scratch,
    body: &mut Body,
    limits: &ClientLimits,
) -> Result<(), ClientEnd> {
    if body.complete {
        return Ok(());
    }
    conn.deadline.set(conn.worker.now(), limits.body_timeout);
    poll_fn(|cx| {
        loop {
            let decoded = match s.body_in.decode(s.client_in.data()) {
                Ok(decoded) => decoded,
                Err(error) => return Poll::Ready(Err(ClientEnd::Bad(error))),
            };
            match decoded.event {
                Event::Data(range) => {
                    body.take(range.len())?;
                    s.gathered.extend_from_slice(&s.client_in.data()[range]);
                    s.client_in.consume(decoded.consumed);
                    // The end of a length is known with its last byte; that of chunks is a line of its own, and a body
                    // that just fits is better gathered whole.
                    if s.gathered.len() >= limits.body_buffer_size && !s.body_in.is_done() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Event::End => {
                    s.client_in.consume(decoded.consumed);
                    body.complete = true;
                    return Poll::Ready(Ok(()));
                }
                Event::NeedMore => {
                    s.client_in.consume(decoded.consumed);
                    match conn.stream.poll_fill(&mut s.client_in, cx, limits.body_buffer_size) {
                        Poll::Ready(Ok(1..)) => conn.deadline.set(conn.worker.now(), limits.body_timeout),
                        Poll::Ready(Ok(0)) if conn.stream.eof(&mut s.body_in).is_ok() => {}
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ClientEnd::Gone)),
                        Poll::Pending if body.live > 0 => return Poll::Ready(Ok(())),
                        Poll::Pending => return conn.deadline.poll(cx).map(|()| Err(ClientEnd::TimedOut)),
                    }
                }
            }
        }
    })
    .await
}
