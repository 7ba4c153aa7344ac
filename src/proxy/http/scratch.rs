//! What a connection needs while it serves, and gives back while it is idle.

use crate::http1::{BodyDecoder, Framing, RequestHead, ResponseHead};
use crate::net::Buffer;
use crate::telemetry::Attempt;

/// Heads and gathered bodies above this many bytes are not kept for the next request.
const KEEP: usize = 64 * 1024;
/// How many are kept per worker.
const SPARES: usize = 256;

/// The memory of one busy connection. An idle connection has none.
pub struct Scratch {
    /// From the client, not yet used.
    pub client_in: Buffer,
    /// From the peer, not yet used.
    pub peer_in: Buffer,
    /// To the peer: the head, or a chunk.
    pub to_peer: Vec<u8>,
    /// To the client: the head, or a chunk.
    pub to_client: Vec<u8>,
    /// The request's body as far as it was gathered, decoded.
    pub gathered: Vec<u8>,
    /// The request's head.
    pub request: RequestHead,
    /// The answer's head.
    pub response: ResponseHead,
    /// The decoder of the request's body.
    pub body_in: BodyDecoder,
    /// The decoder of the answer's body.
    pub body_out: BodyDecoder,
    /// What is asked of the peer: path and query.
    pub target: Vec<u8>,
    /// Who was asked, for the log.
    pub attempts: Vec<Attempt>,
    /// The path that routes.
    pub path: Vec<u8>,
    /// The key of `hash`.
    pub key: Vec<u8>,
}

/// The scratches of a worker that nobody uses.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they are handed in and out, which a box makes cheap")]
pub struct Spare(Vec<Box<Scratch>>);

impl Spare {
    /// One to work with.
    pub fn take(&mut self) -> Box<Scratch> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes one back, when its connection is idle or over.
    pub fn put(&mut self, mut scratch: Box<Scratch>) {
        // What was read into goes back to the thread, whatever becomes of the rest.
        scratch.forget();
        if self.0.len() < SPARES && scratch.weight() <= KEEP {
            self.0.push(scratch);
        }
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            client_in: Buffer::default(),
            peer_in: Buffer::default(),
            to_peer: Vec::new(),
            to_client: Vec::new(),
            gathered: Vec::new(),
            request: RequestHead::new(),
            response: ResponseHead::new(),
            body_in: BodyDecoder::new(Framing::None),
            body_out: BodyDecoder::new(Framing::None),
            target: Vec::new(),
            attempts: Vec::new(),
            path: Vec::new(),
            key: Vec::new(),
        }
    }
}

impl Scratch {
    /// Keeps the memory, and nothing of what one client may not leave to another.
    fn forget(&mut self) {
        self.client_in.clear();
        self.peer_in.clear();
        self.to_peer.clear();
        self.to_client.clear();
        self.gathered.clear();
        self.request.clear();
        self.response.clear();
        self.attempts.clear();
    }

    /// What of it the request's story is told by, in a memory of its own that holds nothing else.
    pub fn record(&mut self) -> Box<Scratch> {
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.shrink_to_fit();
        let (request, response, path) = (self.request.clone(), self.response.clone(), self.path.clone());
        Box::new(Scratch { request, response, path, attempts, ..Scratch::default() })
    }

    /// Bytes allocated, about.
    fn weight(&self) -> usize {
        self.to_peer.capacity() + self.to_client.capacity() + self.gathered.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    #[test]
    fn a_record_is_what_a_story_is_told_by_and_takes_no_room_for_more() {
        let mut scratch = Scratch::default();
        let head = b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n";
        scratch.request.parse(head, &Limits::default()).unwrap();
        scratch.path.reserve(KEEP);
        scratch.path.extend_from_slice(b"/ws");
        scratch.gathered.extend_from_slice(b"a body");
        let record = scratch.record();
        assert_eq!((record.request.target(), record.path.as_slice()), (&b"/ws"[..], &b"/ws"[..]));
        assert_eq!((record.path.capacity(), record.weight()), (3, 0));
        assert_eq!(scratch.request.target(), b"/ws", "it is a copy: the memory is the next one's");
    }
}
