//! What a connection needs while it serves, and gives back while it is idle.

use crate::http1::{RequestHead, ResponseHead};
use crate::net::Buffer;

/// Buffers above this many bytes are not kept for the next request.
const KEEP: usize = 64 * 1024;
/// How many are kept per worker.
const SPARES: usize = 256;

/// The memory of one busy connection. An idle connection has none.
#[derive(Default)]
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
    /// The path that routes.
    pub path: Vec<u8>,
    /// The key of `hash`.
    pub key: Vec<u8>,
}

/// The scratches of a worker that nobody uses.
#[derive(Default)]
pub struct Spare(Vec<Box<Scratch>>);

impl Spare {
    /// One to work with.
    pub fn take(&mut self) -> Box<Scratch> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes one back.
    pub fn put(&mut self, mut scratch: Box<Scratch>) {
        if self.0.len() < SPARES && scratch.client_in.is_empty() && scratch.weight() <= KEEP {
            scratch.peer_in.clear();
            self.0.push(scratch);
        }
    }
}

impl Scratch {
    /// Bytes allocated, about.
    fn weight(&self) -> usize {
        self.client_in.capacity()
            + self.peer_in.capacity()
            + self.to_peer.capacity()
            + self.to_client.capacity()
            + self.gathered.capacity()
    }
}
