//! A pipe that bytes of one socket go through to another, by `splice(2)`.
//!
//! Pipes are lent by the thread, and given back when they are dropped.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::net::Stream;

/// What a pipe holds, in bytes: of the kernel's memory, and of what a slow reader keeps waiting.
const SIZE: usize = 256 * 1024;

/// How many there are at once per thread. Whoever gets none copies.
const PIPES: usize = 128;

/// Both ends of a pipe.
#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// The pipes of a thread.
#[derive(Debug)]
struct Pipes {
    /// In nobody's hands.
    spare: Vec<Ends>,
    lent: usize,
}

thread_local! {
    static PIPES_OF_THREAD: RefCell<Pipes> = const { RefCell::new(Pipes { spare: Vec::new(), lent: 0 }) };
}

impl Pipes {
    fn lend(&mut self) -> Option<Ends> {
        if self.lent == PIPES {
            return None;
        }
        let ends = self.spare.pop().or_else(|| Ends::open().ok())?;
        self.lent += 1;
        Some(ends)
    }
}

impl Ends {
    fn open() -> io::Result<Ends> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user who has many large ones: it is smaller then.
        let _ = fcntl_setpipe_size(&write, SIZE);
        Ok(Ends { read, write })
    }
}

/// A pipe that bytes go through. Nobody else's are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// `None` only while it is dropped.
    ends: Option<Ends>,
    held: usize,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take();
        // Fails only at the end of the thread, when its pipes are gone already.
        let _ = PIPES_OF_THREAD.try_with(|pipes| {
            let mut pipes = pipes.borrow_mut();
            pipes.lent -= 1;
            // One with something in it is of no use to anybody else.
            pipes.spare.extend(ends.filter(|_| self.held == 0));
        });
    }
}

impl Pipe {
    /// One for what `from` says and `to` is to hear; `None`: their bytes may not pass unseen, or there is none to be had.
    pub(super) fn between(from: &Stream, to: &Stream) -> Option<Pipe> {
        from.tcp().and(to.tcp())?;
        let ends = PIPES_OF_THREAD.with_borrow_mut(Pipes::lend)?;
        Some(Pipe { ends: Some(ends), held: 0 })
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what has come into the empty pipe, at most `limit` bytes; 0 is the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream, limit: u64) -> Poll<io::Result<usize>> {
        // Of a pipe that has something in it, the kernel's "would block" could be the pipe's own.
        debug_assert!(self.is_empty());
        let (Some(tcp), Some(ends)) = (from.tcp(), &self.ends) else { return unsupported() };
        let size = usize::try_from(limit).map_or(SIZE, |limit| limit.min(SIZE));
        let n = ready!(poll_splice(cx, tcp, Interest::READABLE, tcp.as_fd(), ends.write.as_fd(), size))?;
        self.held = n;
        if n as u64 == limit {
            look_for_more(tcp);
        }
        Poll::Ready(Ok(n))
    }

    /// Gives what the kernel takes of it.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        let (Some(tcp), Some(ends)) = (to.tcp(), &self.ends) else { return unsupported() };
        let n = ready!(poll_splice(cx, tcp, Interest::WRITABLE, ends.read.as_fd(), tcp.as_fd(), self.held))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.held -= n;
        Poll::Ready(Ok(n))
    }
}

/// Moves up to `size` bytes, as soon as `tcp` lets some go.
fn poll_splice(
    cx: &mut Context<'_>,
    tcp: &TcpStream,
    interest: Interest,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    size: usize,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(if interest.is_readable() { tcp.poll_read_ready(cx) } else { tcp.poll_write_ready(cx) })?;
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match tcp.try_io(interest, || Ok(splice(from, None, to, None, size, flags)?)) {
            Err(error) if is_momentary(&error) => {}
            moved => return Poll::Ready(moved),
        }
    }
}

/// All that was wanted is there. Whether there is more must be asked for: a read that is shorter than its buffer would have
/// told, and [`Stream::looks_quiet`] goes by that.
fn look_for_more(tcp: &TcpStream) {
    // Whatever comes of it is noted by the runtime.
    let _ = tcp.try_io(Interest::READABLE, || {
        let (copied, _) = rustix::net::recv(tcp, &mut [0; 1][..], RecvFlags::PEEK)?;
        Ok(copied)
    });
}

fn unsupported() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
}

fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
