//! Which of many quiet sockets has something to say?
//!
//! They are in an event queue of their own (epoll), which the runtime watches as one descriptor. So nobody waits for each of them, and
//! one that is quiet weighs nothing here.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags};
use rustix::event::{Timespec, epoll};
use tokio::net::unix::pipe::Receiver;

/// How many are heard at a time.
const AT_A_TIME: usize = 256;
/// No time to wait.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Quiet sockets, each with a key.
#[derive(Debug)]
pub struct Watch {
    /// It is none of a pipe, but that is tokio's type for a descriptor that becomes readable and is nobody else's.
    queue: Receiver,
}

impl Watch {
    /// One that the runtime of this thread watches.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new() -> io::Result<Watch> {
        let queue = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Watch { queue: Receiver::from_owned_fd_unchecked(queue)? })
    }

    /// Hears `socket` from now on, also what it has already. It is heard once.
    ///
    /// # Errors
    /// The kernel has no room for another one, or has it already.
    pub fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT;
        Ok(epoll::add(&self.queue, socket, EventData::new_u64(key as u64), flags)?)
    }

    /// Hears it no more. What was heard and not yet told of is told.
    pub fn remove(&self, socket: impl AsFd) {
        // Fails only when it is not there.
        let _ = epoll::delete(&self.queue, socket);
    }

    /// The keys of some that have bytes, an end or an error, in the place of an empty list.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll(&self, cx: &mut Context<'_>, heard: &mut Vec<usize>) -> Poll<io::Result<()>> {
        let mut events = [MaybeUninit::<Event>::uninit(); AT_A_TIME];
        loop {
            ready!(self.queue.poll_read_ready(cx))?;
            let told = self.queue.try_io(|| {
                let (events, _) = epoll::wait(&self.queue, &mut events, Some(&AT_ONCE))?;
                heard.extend(events.iter().map(|event| event.data.u64() as usize));
                // Then the runtime waits for the next.
                if events.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match told {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                told => return Poll::Ready(told),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pairs<const N: usize>() -> [(UnixStream, UnixStream); N] {
        std::array::from_fn(|_| UnixStream::pair().unwrap())
    }

    async fn heard(watch: &Watch) -> Vec<usize> {
        let mut heard = Vec::new();
        poll_fn(|cx| watch.poll(cx, &mut heard)).await.unwrap();
        heard
    }

    /// Whether nobody has anything to say.
    async fn is_quiet(watch: &Watch) -> bool {
        for _ in 0..100 {
            // The runtime looks at its descriptors meanwhile.
            tokio::task::yield_now().await;
        }
        poll_fn(|cx| Poll::Ready(watch.poll(cx, &mut Vec::new()).is_pending())).await
    }

    #[tokio::test]
    async fn who_speaks_or_leaves_is_heard_once() {
        let watch = Watch::new().unwrap();
        let [(mut speaks, one), (leaves, two), (_silent, three)] = pairs();
        for (key, socket) in [(7, &one), (5, &two), (3, &three)] {
            watch.add(socket, key).unwrap();
        }
        assert!(is_quiet(&watch).await);
        speaks.write_all(b"hello").unwrap();
        assert_eq!(heard(&watch).await, [7]);
        speaks.write_all(b"again").unwrap();
        assert!(is_quiet(&watch).await, "it was heard");
        drop(leaves);
        assert_eq!(heard(&watch).await, [5]);
    }

    #[tokio::test]
    async fn what_had_come_before_is_heard_as_well() {
        let watch = Watch::new().unwrap();
        let [(mut speaks, socket)] = pairs();
        speaks.write_all(b"early").unwrap();
        watch.add(&socket, 1).unwrap();
        assert_eq!(heard(&watch).await, [1]);
        watch.remove(&socket);
        watch.add(&socket, 2).unwrap();
        assert_eq!(heard(&watch).await, [2], "it has not been read");
    }

    #[tokio::test]
    async fn who_was_removed_is_not_heard() {
        let watch = Watch::new().unwrap();
        let [(mut speaks, socket), (mut other, closed)] = pairs();
        watch.add(&socket, 1).unwrap();
        watch.add(&closed, 2).unwrap();
        watch.remove(&socket);
        drop(closed);
        speaks.write_all(b"hello").unwrap();
        assert!(other.write_all(b"hello").is_err());
        assert!(is_quiet(&watch).await);
    }

    #[tokio::test]
    async fn more_than_are_heard_at_a_time_are_all_heard() {
        const MANY: usize = AT_A_TIME + 10;
        let watch = Watch::new().unwrap();
        let mut sockets = Vec::new();
        for key in 0..MANY {
            let [(mut speaks, socket)] = pairs();
            watch.add(&socket, key).unwrap();
            speaks.write_all(b"hello").unwrap();
            sockets.push((speaks, socket));
        }
        let mut all = heard(&watch).await;
        assert_eq!(all.len(), AT_A_TIME);
        all.extend(heard(&watch).await);
        all.sort_unstable();
        assert_eq!(all, (0..MANY).collect::<Vec<_>>());
    }
}
