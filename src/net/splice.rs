//! Bytes from one socket to another that never come to this process: `splice(2)` through a pipe.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use super::Stream;

/// What a pipe holds, in bytes: of the kernel's memory, and of what a slow reader keeps waiting.
const SIZE: usize = 256 * 1024;

/// A pipe that bytes go through. Between sessions it is empty.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// A new one.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn open() -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user who has many large ones: it is smaller then.
        let _ = fcntl_setpipe_size(&write, SIZE);
        Ok(Pipe { read, write, held: 0 })
    }

    /// Whether both ends of a path are sockets whose bytes may pass unseen.
    pub fn joins(from: &Stream, to: &Stream) -> bool {
        from.tcp().is_some() && to.tcp().is_some()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what has come into the empty pipe; 0 is the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream) -> Poll<io::Result<usize>> {
        // Of a pipe that has something in it, the kernel's "would block" could be the pipe's own.
        debug_assert!(self.is_empty());
        let Some(tcp) = from.tcp() else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let moved = tcp.try_io(Interest::READABLE, || Ok(splice(tcp, None, &self.write, None, SIZE, flags)?));
            match moved {
                Ok(n) => {
                    self.held = n;
                    return Poll::Ready(Ok(n));
                }
                Err(error) if is_momentary(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Gives what the kernel takes of it.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        let Some(tcp) = to.tcp() else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        loop {
            ready!(tcp.poll_write_ready(cx))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            let moved = tcp.try_io(Interest::WRITABLE, || Ok(splice(&self.read, None, tcp, None, self.held, flags)?));
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.held -= n;
                    return Poll::Ready(Ok(n));
                }
                Err(error) if is_momentary(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
