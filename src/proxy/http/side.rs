//! One side of an exchange: a connection of HTTP/1.1, or one stream of HTTP/2.
//!
//! What is done with a request does not depend on it. Either side is given a message as a head in the text of HTTP/1.1
//! and the bytes of its body behind it, and gives one in the same way; how a body is framed and how it ends is what they
//! differ in. So fields are set, hidden and judged in one form alone.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::http2;
use super::outcome::Trouble;
use crate::http1::{BodyDecoder, BodyError, FieldSection, Framing};
use crate::net::{Buffer, Stream};
use crate::proxy::conversation::Speaker;
use crate::telemetry::Failure;

/// How many bytes a client may send ahead of its answer before it must wait.
const AHEAD: usize = 16 * 1024;

/// Where the bytes of one side come from and go to.
#[derive(Debug)]
pub enum Side {
    /// A connection.
    Http1(Stream),
    /// A stream among others of a connection.
    Http2(Box<http2::Stream>),
}

impl Side {
    /// Whether it can be parked while nobody says anything.
    pub fn may_park(&self) -> bool {
        match self {
            Side::Http1(stream) => stream.may_park(),
            Side::Http2(_) => false,
        }
    }

    /// Whether bodies are framed by HTTP/2, not by what is written.
    pub fn is_http2(&self) -> bool {
        matches!(self, Side::Http2(_))
    }

    /// Reads once into `buffer`, which holds no more than `limit` bytes then; `Ok(0)` is the end: see [`Side::eof`].
    ///
    /// # Errors
    /// Those of the connection or stream, and `StorageFull` if there is no room.
    #[inline]
    pub fn poll_fill(&mut self, buffer: &mut Buffer, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        match self {
            Side::Http1(stream) => buffer.poll_fill(stream, cx, limit),
            Side::Http2(stream) => stream.poll_fill(buffer, cx, limit),
        }
    }

    /// Writes what goes now of a message. A head is written whole; behind it comes the body.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Side::Http1(stream) => stream.poll_write_vectored(cx, slices),
            Side::Http2(stream) => stream.poll_write(cx, slices),
        }
    }

    /// The same with what is written last on a connection: [`Side::end_now`] comes next, without a wait.
    #[inline]
    pub fn poll_write_last(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Side::Http1(stream) => stream.poll_write_last(cx, slices),
            Side::Http2(stream) => stream.poll_write(cx, slices),
        }
    }

    /// Ends this side's sending, after what was written last. TLS does so when it is closed.
    pub fn end_now(&mut self) {
        match self {
            Side::Http1(stream) if stream.is_plain() => stream.shutdown_write(),
            Side::Http1(_) | Side::Http2(_) => {}
        }
    }

    /// How the decoder is told to find the end of a body that was announced so: a stream ends its body itself.
    #[inline]
    pub fn coding(&self, announced: Framing) -> Framing {
        match (self, announced) {
            (Side::Http1(_), announced) => announced,
            (Side::Http2(_), Framing::None) => Framing::None,
            (Side::Http2(_), _) => Framing::UntilClose,
        }
    }

    /// Whether an answer is known to have nothing behind its head, or behind what was read.
    pub fn is_over(&self) -> bool {
        match self {
            Side::Http1(_) => false,
            Side::Http2(stream) => stream.is_over(),
        }
    }

    /// After `Ok(0)`: whether that was the end of the body. Trailers are in the decoder then.
    ///
    /// # Errors
    /// If the body was cut.
    pub fn eof(&mut self, decoder: &mut BodyDecoder) -> Result<(), BodyError> {
        decoder.eof()?;
        if let Side::Http2(stream) = self {
            stream.take_trailers(decoder);
        }
        Ok(())
    }

    /// The next head is the whole message, if `whole`: nothing will be written behind it.
    #[inline]
    pub fn announce(&mut self, whole: bool) {
        if let Side::Http2(stream) = self {
            stream.announce(whole);
        }
    }

    /// Ends the message that was written. On a connection its framing has said so.
    #[inline]
    pub fn finish(&mut self, trailers: &FieldSection) {
        if let Side::Http2(stream) = self {
            stream.finish(trailers);
        }
    }

    /// Whether the client has left. Takes what it sends ahead on a connection, up to a bound.
    #[inline]
    pub fn has_left(&mut self, cx: &mut Context<'_>, ahead: &mut Buffer) -> bool {
        match self {
            Side::Http1(stream) => has_closed(stream, cx, ahead),
            Side::Http2(stream) => stream.is_reset(cx),
        }
    }

    /// Ready when the kernel, or the library of HTTP/2, has all that was written: see [`Stream::poll_flush`].
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Side::Http1(stream) => stream.poll_flush(cx),
            Side::Http2(stream) => {
                stream.flush();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// The connection that it has to itself.
    pub fn stream(&mut self) -> Option<&mut Stream> {
        match self {
            Side::Http1(stream) => Some(stream),
            Side::Http2(_) => None,
        }
    }

    /// What was agreed on inside TLS: see [`Stream::alpn`].
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Side::Http1(stream) => stream.alpn(),
            Side::Http2(_) => None,
        }
    }

    /// Ready when a read would not wait.
    #[inline]
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Side::Http1(stream) => stream.poll_readable(cx),
            Side::Http2(_) => Poll::Pending,
        }
    }

    /// Whether nothing was announced since the last read: see [`Stream::looks_quiet`].
    #[inline]
    pub fn looks_quiet(&self) -> bool {
        match self {
            Side::Http1(stream) => stream.looks_quiet(),
            Side::Http2(_) => true,
        }
    }

    /// Ends this side's sending.
    pub fn shutdown_write(&mut self) {
        match self {
            Side::Http1(stream) => stream.shutdown_write(),
            Side::Http2(stream) => stream.finish(&FieldSection::default()),
        }
    }

    /// The other side must not take what it has for a whole message.
    pub fn reset_on_close(&mut self) {
        match self {
            Side::Http1(stream) => stream.reset_on_close(),
            Side::Http2(stream) => stream.reset(h2::Reason::INTERNAL_ERROR),
        }
    }

    /// Ends a tunnel, for good: with a reset if the other end was `cut` (RFC 8441 §5).
    pub fn cancel(&mut self, cut: bool) {
        match self {
            Side::Http1(stream) if cut => stream.reset_on_close(),
            Side::Http1(_) => {}
            Side::Http2(stream) => stream.reset(h2::Reason::CANCEL),
        }
    }

    /// What went wrong when reading an answer ended with `error`.
    pub fn trouble(&self, failure: Failure, error: &io::Error) -> Trouble {
        match self {
            Side::Http1(_) => Trouble::broken(failure, error),
            Side::Http2(stream) => stream.trouble(failure, error),
        }
    }
}

/// Within a tunnel.
impl Speaker for Side {
    fn poll_fill(&mut self, buffer: &mut Buffer, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        Side::poll_fill(self, buffer, cx, limit)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Side::poll_write(self, cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Side::poll_write_last(self, cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Side::poll_flush(self, cx)
    }

    fn shutdown_write(&mut self) {
        Side::shutdown_write(self);
    }

    fn connection(&self) -> Option<&Stream> {
        match self {
            Side::Http1(stream) => Some(stream),
            Side::Http2(_) => None,
        }
    }
}

fn has_closed(client: &mut Stream, cx: &mut Context<'_>, ahead: &mut Buffer) -> bool {
    while ahead.has_room(AHEAD) && client.poll_readable(cx).is_ready() {
        match ahead.poll_fill(client, cx, AHEAD) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(Ok(0) | Err(_)) => return true,
            Poll::Pending => return false,
        }
    }
    false
}
