//! Which pipes are there for bytes on their way? Those of the worker, lent while there is something in them.

use crate::net::splice::Pipe;

/// How many there are at once per worker. Whoever gets none copies.
const PIPES: usize = 128;

/// The pipes of a worker.
#[derive(Debug, Default)]
pub struct Pipes {
    /// In nobody's hands.
    spare: Vec<Pipe>,
    /// In the hands of sessions.
    lent: usize,
}

impl Pipes {
    /// One, if there is one to be had.
    pub fn take(&mut self) -> Option<Pipe> {
        if self.lent == PIPES {
            return None;
        }
        let pipe = self.spare.pop().or_else(|| Pipe::open().ok())?;
        self.lent += 1;
        Some(pipe)
    }

    /// Takes one back. One with something in it is of no use to anybody else.
    pub fn put(&mut self, pipe: Pipe) {
        self.lent -= 1;
        if pipe.is_empty() {
            self.spare.push(pipe);
        }
    }
}
