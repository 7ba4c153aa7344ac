//! What are bytes on their way held in? Buffers and pipes of the worker, lent while there are any: a silent session has
//! none.

use crate::net::Buffer;
use crate::net::splice::Pipe;

/// How many buffers, and how many pipes, are kept per worker.
const SPARES: usize = 256;
/// How many pipes there are at once. Whoever gets none copies.
const PIPES: usize = 128;

/// The memory of a worker's streams that no session uses.
#[derive(Debug, Default)]
pub struct Buffers {
    buffers: Vec<Buffer>,
    pipes: Vec<Pipe>,
    /// Pipes in the hands of sessions.
    lent: usize,
}

impl Buffers {
    /// One to work with.
    pub fn take(&mut self) -> Buffer {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes one back, and forgets what is in it.
    pub fn put(&mut self, mut buffer: Buffer) {
        if self.buffers.len() < SPARES {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// A pipe, if there is one to be had.
    pub fn take_pipe(&mut self) -> Option<Pipe> {
        if self.lent == PIPES {
            return None;
        }
        let pipe = self.pipes.pop().or_else(|| Pipe::open().ok())?;
        self.lent += 1;
        Some(pipe)
    }

    /// Takes a pipe back. One with something in it is of no use to anybody else.
    pub fn put_pipe(&mut self, pipe: Pipe) {
        self.lent -= 1;
        if pipe.is_empty() {
            self.pipes.push(pipe);
        }
    }
}
