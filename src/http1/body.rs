//! Which of these bytes are the body?

use std::fmt;
use std::ops::Range;

use super::chunked::{Chunks, Step};
use super::trailer::Trailers;
use super::{FieldSection, Framing};

/// Finds the body in what follows a head. Keeps its memory from message to message: see [`begin`](Self::begin).
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    trailers: Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are to come, at least one.
    Length(u64),
    Chunks(Chunks),
    Trailers,
    UntilClose,
    Done,
}

/// What one call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with, those of the event included.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These bytes of the input are data, at least one. Call again for what follows them.
    Data(Range<usize>),
    /// The input holds nothing more; all of it was consumed. Call again with what comes next.
    NeedMore,
    /// The message is over, and its trailers are known. What follows belongs to the next message.
    End,
}

/// A body that is refused. For a request that is 400, for an answer a cut body: the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk does not begin with a hexadecimal number, or something but an extension follows it.
    ChunkSize,
    /// A chunk larger than can be counted.
    ChunkTooLarge,
    /// A control character in a chunk extension.
    Extension,
    /// Far more framing than data: a flood of extensions (RFC 9112 §7.1.1).
    Overhead,
    /// A line does not end in CRLF, or a chunk's data is longer than announced.
    LineEnding,
    /// A malformed trailer.
    Trailer,
    /// Trailers beyond 8 KiB or 64 lines.
    TrailersTooLong,
    /// The connection ended before the body did.
    Truncated,
}

impl BodyDecoder {
    /// A decoder for a body with this framing.
    pub fn new(framing: Framing) -> BodyDecoder {
        BodyDecoder { state: State::of(framing), trailers: Trailers::default() }
    }

    /// Turns to the next message.
    pub fn begin(&mut self, framing: Framing) {
        self.state = State::of(framing);
        self.trailers.clear();
    }

    /// Looks at what comes next. An empty body yields [`Event::End`] at once, also of empty input; after the end it is
    /// `End` again. Data comes as it is, chunk by chunk.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut consumed = 0;
        if let State::Chunks(chunks) = &mut self.state {
            match chunks.step(input)? {
                Step::NeedMore => return Ok(Decoded { consumed: input.len(), event: Event::NeedMore }),
                Step::Data { skip } => consumed = skip,
                Step::Last { skip } => {
                    consumed = skip;
                    self.state = State::Trailers;
                }
            }
        }
        if self.state == State::Trailers {
            let (read, complete) = self.trailers.read(&input[consumed..])?;
            consumed += read;
            if complete {
                self.state = State::Done;
            }
        }
        if self.state == State::Done {
            return Ok(Decoded { consumed, event: Event::End });
        }
        let rest = (input.len() - consumed) as u64;
        let data = rest.min(self.remaining_data());
        if data == 0 {
            return Ok(Decoded { consumed, event: Event::NeedMore });
        }
        self.pass(data);
        // No more than `rest`, which was a `usize`.
        let end = consumed + data as usize;
        Ok(Decoded { consumed: end, event: Event::Data(consumed..end) })
    }

    /// The connection ended: was that the end of the body?
    pub fn eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// The message is over, and these were its trailers: for a body that came another way, in which its end is told.
    /// What may not be passed on is left out, and so are all if they are too many.
    pub fn finish<'a>(&mut self, trailers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) {
        self.state = State::Done;
        self.trailers.compose(trailers);
    }

    /// Whether the message is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of the bytes that come next are data for certain, so that they can be passed on without a look at
    /// them: the rest of the length, of the chunk, or `u64::MAX` until the connection ends. Account for them with
    /// [`pass`](Self::pass).
    pub fn remaining_data(&self) -> u64 {
        match &self.state {
            State::Length(left) => *left,
            State::Chunks(chunks) => chunks.data(),
            State::UntilClose => u64::MAX,
            State::Trailers | State::Done => 0,
        }
    }

    /// Accounts for `n` bytes of data that were passed on without [`decode`](Self::decode). At most
    /// [`remaining_data`](Self::remaining_data); what is beyond is ignored.
    pub fn pass(&mut self, n: u64) {
        match &mut self.state {
            State::Length(left) if *left <= n => self.state = State::Done,
            State::Length(left) => *left -= n,
            State::Chunks(chunks) => chunks.pass(n),
            State::Trailers | State::UntilClose | State::Done => {}
        }
    }

    /// The trailers that may be passed on, once the message is over. Fields that frame, route or authenticate a message
    /// are not among them (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> &FieldSection {
        self.trailers.fields()
    }
}

impl State {
    fn of(framing: Framing) -> State {
        match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunks(Chunks::default()),
            Framing::UntilClose => State::UntilClose,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::ChunkSize => "malformed chunk size",
            BodyError::ChunkTooLarge => "chunk too large",
            BodyError::Extension => "control character in a chunk extension",
            BodyError::Overhead => "too many chunk extensions",
            BodyError::LineEnding => "a chunk does not end in CRLF",
            BodyError::Trailer => "malformed trailer",
            BodyError::TrailersTooLong => "trailers too long",
            BodyError::Truncated => "the body was cut",
        })
    }
}

impl std::error::Error for BodyError {}

#[cfg(test)]
mod tests;
