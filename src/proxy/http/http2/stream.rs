//! One stream of HTTP/2, read and written like a connection that serves one exchange.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::uri::Scheme;

use super::heads;
use super::peers::Use;
use crate::http1::{BodyDecoder, FieldSection};
use crate::net::Buffer;
use crate::proxy::http::outcome::Trouble;
use crate::telemetry::Failure;

/// Bytes of a body that are handed to the library at once.
const PIECE: usize = 32 * 1024;

/// A request from a client with its answer, or a request to a peer with its.
pub struct Stream {
    reading: Reading,
    writing: Writing,
    /// The next head is the whole message.
    whole: bool,
    /// Read and not yet taken: a head in text, or a piece of the body.
    pending: Bytes,
    /// Written and not yet handed on, for it may be the last piece of the body.
    held: Bytes,
    trailers: Option<HeaderMap>,
    fault: Option<Fault>,
    /// What was asked for by an extended CONNECT that is not answered yet: the request goes on until it is.
    asked: Option<Box<heads::Tunnel>>,
    /// For a peer: its connection.
    connection: Option<Use>,
}

enum Reading {
    /// The request was not sent.
    Nothing,
    Answer(ResponseFuture),
    Body(RecvStream),
    Ended,
}

enum Writing {
    Answer(SendResponse<Bytes>),
    Request(SendRequest<Bytes>, Scheme),
    Body(SendStream<Bytes>),
    Ended,
}

/// How a stream ended that should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The peer says that it did nothing of the request: REFUSED_STREAM, or GOAWAY before it.
    Refused,
    /// RST_STREAM.
    Reset(Reason),
    /// What came broke the rules.
    Malformed,
    /// The connection is gone.
    Broken,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Stream {
    /// A client's request: `body` is what follows its head.
    pub fn of_client(body: RecvStream, respond: SendResponse<Bytes>) -> Stream {
        let reading = if body.is_end_stream() { Reading::Ended } else { Reading::Body(body) };
        Stream::new(reading, Writing::Answer(respond), None)
    }

    /// A stream to a peer, to be opened by the head that is written first.
    pub fn to_peer(send: SendRequest<Bytes>, scheme: Scheme, connection: Use) -> Stream {
        Stream::new(Reading::Nothing, Writing::Request(send, scheme), Some(connection))
    }

    fn new(reading: Reading, writing: Writing, connection: Option<Use>) -> Stream {
        Stream {
            reading,
            writing,
            whole: false,
            pending: Bytes::new(),
            held: Bytes::new(),
            trailers: None,
            fault: None,
            asked: None,
            connection,
        }
    }

    /// The next head is the whole message, if `whole`.
    pub fn announce(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// Reads a piece into `buffer`: first a head in text, if an answer is read, then the body. `Ok(0)`: it is over.
    ///
    /// # Errors
    /// If the stream or its connection was reset, and `StorageFull` if there is no room.
    pub fn poll_fill(&mut self, buffer: &mut Buffer, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        loop {
            if !self.pending.is_empty() {
                let n = buffer.append(&self.pending, limit);
                self.pending.advance(n);
                return Poll::Ready(if n > 0 { Ok(n) } else { Err(io::ErrorKind::StorageFull.into()) });
            }
            match ready!(self.poll_read(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(0)),
                Err(error) => return Poll::Ready(Err(self.fail(error))),
            }
        }
    }

    /// Reads what comes next into `pending`; false at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        match &mut self.reading {
            Reading::Nothing => return Poll::Pending,
            Reading::Ended => return Poll::Ready(Ok(false)),
            Reading::Answer(answer) => {
                if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
                    self.pending = heads::text_of_answer(&interim?).into();
                    return Poll::Ready(Ok(true));
                }
                let (head, body) = ready!(Pin::new(answer).poll(cx))?.into_parts();
                self.reading = if body.is_end_stream() { Reading::Ended } else { Reading::Body(body) };
                let head = http::Response::from_parts(head, ());
                let asked = self.asked.take();
                self.pending = match &asked {
                    Some(asked) if head.status().is_success() => heads::text_of_agreement(&head, asked).into(),
                    _ => heads::text_of_answer(&head).into(),
                };
                if asked.is_some() && !head.status().is_success() {
                    self.finish(&FieldSection::default());
                }
            }
            Reading::Body(body) => match ready!(body.poll_data(cx)) {
                Some(piece) => {
                    self.pending = piece?;
                    // Taken at once, but for one piece: the next is read when there is room.
                    body.flow_control().release_capacity(self.pending.len())?;
                }
                None => {
                    self.trailers = ready!(body.poll_trailers(cx))?;
                    self.reading = Reading::Ended;
                }
            },
        }
        Poll::Ready(Ok(true))
    }

    /// Whether the answer that is read had nothing behind its head.
    pub fn is_over(&self) -> bool {
        matches!(self.reading, Reading::Ended)
    }

    /// Hands the trailers that came to the decoder.
    pub fn take_trailers(&mut self, decoder: &mut BodyDecoder) {
        if let Some(trailers) = self.trailers.take() {
            decoder.finish(trailers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())));
        }
    }

    /// Writes what goes: a head whole, or as much of a body as the other side's window has room for. The last piece of a body may still
    /// wait here: see [`Stream::flush`].
    ///
    /// # Errors
    /// If the stream or its connection was reset, and `InvalidInput` for a head that HTTP/2 cannot carry.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match &mut self.writing {
            Writing::Body(send) => ready!(poll_body(send, &mut self.held, cx, slices)),
            Writing::Ended => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Writing::Answer(_) | Writing::Request(..) => {
                let text = slices.first().map(|slice| &**slice).unwrap_or_default();
                self.write_head(text)
            }
        };
        Poll::Ready(match written {
            Ok(Some(n)) => Ok(n),
            // A head that this protocol cannot say, or the end of a stream that the other side has reset.
            Ok(None) => Err(io::ErrorKind::InvalidInput.into()),
            Err(error) => Err(self.fail(error)),
        })
    }

    fn write_head(&mut self, text: &[u8]) -> Result<Option<usize>, h2::Error> {
        let (len, send) = match &mut self.writing {
            Writing::Answer(respond) => {
                let Some((len, answer)) = heads::answer_of_text(text) else { return Ok(None) };
                if answer.status().is_informational() {
                    respond.send_informational(answer)?;
                    return Ok(Some(len));
                }
                (len, respond.send_response(answer, self.whole)?)
            }
            Writing::Request(send, scheme) => {
                let Some(outgoing) = heads::request_of_text(text, scheme.clone()) else { return Ok(None) };
                let heads::Outgoing { len, request, tunnel } = outgoing;
                self.whole &= tunnel.is_none();
                self.asked = tunnel;
                let (answer, send) = send.send_request(request, self.whole)?;
                self.reading = Reading::Answer(answer);
                (len, send)
            }
            Writing::Body(_) | Writing::Ended => return Ok(None),
        };
        self.writing = if self.whole { Writing::Ended } else { Writing::Body(send) };
        Ok(Some(len))
    }

    /// Hands on what was written. Who stops writing for a while does that.
    pub fn flush(&mut self) {
        if let (Writing::Body(send), false) = (&mut self.writing, self.held.is_empty()) {
            // Fails only on a stream that was reset: whoever writes next is told.
            let _ = send.send_data(std::mem::take(&mut self.held), false);
        }
    }

    /// Ends what is written, if it was begun and did not end with its head. The request for a tunnel ends with that.
    pub fn finish(&mut self, trailers: &FieldSection) {
        if self.asked.is_some() {
            return;
        }
        if !trailers.is_empty() {
            self.flush();
        }
        let Writing::Body(send) = &mut self.writing else { return };
        // Fails only on a stream that was reset: whoever reads from it is told.
        let _ = match trailers.is_empty() {
            // The last piece says that it is the last.
            true => send.send_data(std::mem::take(&mut self.held), true),
            false => send.send_trailers(heads::trailers(trailers.iter().map(|field| (field.name, field.value)))),
        };
        self.writing = Writing::Ended;
    }

    /// Whether all was written.
    pub fn is_finished(&self) -> bool {
        matches!(self.writing, Writing::Ended)
    }

    /// Whether the other side, a client, gave up.
    pub fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.writing {
            Writing::Answer(respond) => respond.poll_reset(cx).is_ready(),
            Writing::Body(send) => send.poll_reset(cx).is_ready(),
            Writing::Request(..) | Writing::Ended => false,
        }
    }

    /// Resets what was not ended, so that nobody takes it for whole.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.writing {
            Writing::Answer(respond) => respond.send_reset(reason),
            Writing::Body(send) => send.send_reset(reason),
            Writing::Request(..) | Writing::Ended => {}
        }
        self.writing = Writing::Ended;
    }

    fn fail(&mut self, error: h2::Error) -> io::Error {
        let fault = match error.reason() {
            // An error that is the connection's own.
            None => Fault::Broken,
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Fault::Refused,
            // The library ends with it only the streams that the peer says it has not begun.
            Some(_) if error.is_go_away() && error.is_remote() => Fault::Refused,
            Some(reason) if error.is_reset() && error.is_remote() => Fault::Reset(reason),
            Some(_) => Fault::Malformed,
        };
        self.fault.get_or_insert(fault);
        let kind = if fault == Fault::Broken { io::ErrorKind::ConnectionReset } else { io::ErrorKind::Other };
        error.into_io().unwrap_or_else(|| kind.into())
    }

    /// What the end of this stream says of its peer. Of the requests that one connection takes with it when it breaks,
    /// the first to be told blames the peer for all.
    pub fn trouble(&self, failure: Failure, error: &io::Error) -> Trouble {
        let connection = self.connection.as_ref();
        match self.fault {
            Some(Fault::Refused) => Trouble::new(Failure::Refused, "refused the stream before it did anything"),
            Some(Fault::Reset(reason)) => Trouble::new(failure, format!("reset the stream: {}", reason.description())),
            Some(Fault::Malformed) => {
                let first = connection.is_none_or(Use::blame);
                Trouble::new(Failure::Malformed, "broke the rules of HTTP/2").blames(first)
            }
            Some(Fault::Broken) | None => {
                let first = connection.is_none_or(Use::blame);
                Trouble::broken(failure, error).blames(first)
            }
        }
    }

    /// The peer's connection.
    pub fn connection(&self) -> Option<&Use> {
        self.connection.as_ref()
    }

    /// The connection serves no further requests: one was not answered in time.
    pub fn retire(&self) {
        if let Some(connection) = &self.connection {
            connection.retire();
        }
    }
}

/// Hands the piece of a body that is `held` to the library, and holds the next; `None` if the stream is over.
fn poll_body(
    send: &mut SendStream<Bytes>,
    held: &mut Bytes,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<Result<Option<usize>, h2::Error>> {
    let wanted = slices.iter().map(|slice| slice.len()).sum::<usize>().min(PIECE);
    if wanted == 0 {
        return Poll::Ready(Ok(Some(0)));
    }
    if !held.is_empty() {
        send.send_data(std::mem::take(held), false)?;
    }
    send.reserve_capacity(wanted);
    while send.capacity() == 0 {
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {
                return Poll::Ready(match send.poll_reset(cx) {
                    Poll::Ready(Ok(reason)) => Err(reason.into()),
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Pending => Ok(None),
                });
            }
        }
    }
    let mut room = send.capacity().min(wanted);
    let mut piece = BytesMut::with_capacity(room);
    for slice in slices {
        let n = slice.len().min(room);
        piece.extend_from_slice(&slice[..n]);
        room -= n;
    }
    *held = piece.freeze();
    Poll::Ready(Ok(Some(held.len())))
}
