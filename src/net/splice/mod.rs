//! Bytes from one socket to another that never come to this process: `splice(2)` through a pipe.

use std::io;
use std::task::{Context, Poll};

mod pipe;

use super::Stream;
use pipe::Pipe;

/// What is left of a message is long when it is so many bytes: then they are worth a pipe.
const LONG: u64 = 128 * 1024;

/// One direction past this process. It has a pipe from when there is much to come until nothing comes for a moment.
#[derive(Debug, Default)]
pub struct Splice {
    pipe: Option<Pipe>,
}

impl Splice {
    /// Whether nothing is on its way: taken from one side, and not yet given to the other.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pipe.as_ref().is_none_or(Pipe::is_empty)
    }

    /// Takes what has come from `from`, at most the `left` bytes that nobody need see; 0 is the end of the stream. Only
    /// when nothing is on its way.
    ///
    /// `None`: it is to be read, since little is left, or a side is no plain connection of TCP, or there is no pipe to be
    /// had. Once begun it goes on to the last byte, or until it has to wait.
    #[inline]
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: Option<&Stream>,
        to: Option<&Stream>,
        left: u64,
    ) -> Option<Poll<io::Result<usize>>> {
        // Most have no pipe, and need none.
        if self.pipe.is_none() && left < LONG { None } else { self.poll_pipe(cx, from?, to?, left) }
    }

    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        left: u64,
    ) -> Option<Poll<io::Result<usize>>> {
        debug_assert!(self.is_empty());
        if left == 0 {
            self.pipe = None;
        } else if left >= LONG && self.pipe.is_none() {
            self.pipe = Pipe::between(from, to);
        }
        let filled = self.pipe.as_mut()?.poll_fill(cx, from, left);
        if !matches!(filled, Poll::Ready(Ok(1..))) {
            // For others, meanwhile.
            self.pipe = None;
        }
        Some(filled)
    }

    /// Gives `to` what it takes of what is on its way; `None`: nothing is.
    #[inline]
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: Option<&Stream>) -> Option<Poll<io::Result<usize>>> {
        let pipe = self.pipe.as_mut().filter(|pipe| !pipe.is_empty())?;
        Some(match to {
            Some(to) => pipe.poll_drain(cx, to),
            None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::ErrorKind;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Somebody and weir's end of the connection to them.
    async fn connected() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let them = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        (them, Stream::new(listener.accept().await.expect("somebody has connected").0))
    }

    /// How much was taken, once something can be; `None`: it is to be read.
    async fn fill(splice: &mut Splice, from: &Stream, to: &Stream, left: u64) -> Option<usize> {
        poll_fn(|cx| match splice.poll_fill(cx, Some(from), Some(to), left) {
            None => Poll::Ready(None),
            Some(filled) => filled.map(|n| Some(n.expect("connected"))),
        })
        .await
    }

    async fn drain(splice: &mut Splice, to: &Stream) -> Option<usize> {
        poll_fn(|cx| match splice.poll_drain(cx, Some(to)) {
            None => Poll::Ready(None),
            Some(drained) => drained.map(|n| Some(n.expect("connected"))),
        })
        .await
    }

    #[tokio::test]
    async fn it_begins_with_much_and_goes_on_to_the_last_byte() {
        let ((mut speaker, from), (mut listener, to)) = (connected().await, connected().await);
        let mut splice = Splice::default();
        speaker.write_all(b"hello world").await.expect("room");
        for (left, taken) in [(0, None), (LONG - 1, None), (LONG, Some(11))] {
            assert_eq!(fill(&mut splice, &from, &to, left).await, taken, "{left} left");
        }
        assert_eq!((splice.is_empty(), drain(&mut splice, &to).await), (false, Some(11)));
        assert_eq!((splice.is_empty(), drain(&mut splice, &to).await), (true, None));
        speaker.write_all(b"again").await.expect("room");
        for (left, taken) in [(1, Some(1)), (2, Some(2)), (0, None), (LONG - 1, None)] {
            assert_eq!(fill(&mut splice, &from, &to, left).await, taken, "{left} left");
            drain(&mut splice, &to).await;
        }
        let mut heard = [0; 14];
        listener.read_exact(&mut heard).await.expect("all of it");
        assert_eq!(&heard, b"hello worldaga");
    }

    #[tokio::test]
    async fn there_is_a_pipe_only_while_something_goes_through_it() {
        let ((mut speaker, from), (_listener, to)) = (connected().await, connected().await);
        let mut splice = Splice::default();
        let waits = splice.poll_fill(&mut Context::from_waker(Waker::noop()), Some(&from), Some(&to), LONG);
        assert!(waits.is_some_and(|filled| filled.is_pending()) && splice.pipe.is_none());
        speaker.write_all(b"hello").await.expect("room");
        fill(&mut splice, &from, &to, LONG).await;
        drain(&mut splice, &to).await;
        assert!(splice.pipe.is_some(), "more is likely to follow");
        drop(speaker);
        assert_eq!(fill(&mut splice, &from, &to, LONG).await, Some(0), "the end");
        assert!(splice.is_empty() && splice.pipe.is_none());
    }

    #[tokio::test]
    async fn what_is_no_connection_of_tcp_is_read() {
        let (_peer, tcp) = connected().await;
        let (unix, _other) = Stream::pair().expect("descriptors");
        let cx = &mut Context::from_waker(Waker::noop());
        for (from, to) in [(&tcp, &unix), (&unix, &tcp)].map(|(from, to)| (Some(from), Some(to))) {
            assert!(Splice::default().poll_fill(cx, from, to, LONG).is_none());
        }
        // A stream of HTTP/2 has no connection to itself.
        assert!(Splice::default().poll_fill(cx, Some(&tcp), None, LONG).is_none());
        assert!(Splice::default().poll_fill(cx, None, Some(&tcp), LONG).is_none());
    }

    #[tokio::test]
    async fn an_error_is_that_of_the_side_it_is_met_at() {
        let ((mut speaker, from), (listener, to)) = (connected().await, connected().await);
        let mut splice = Splice::default();
        speaker.write_all(b"hello").await.expect("room");
        fill(&mut splice, &from, &to, LONG).await;
        listener.set_zero_linger().expect("a socket");
        drop(listener);
        poll_fn(|cx| to.tcp().expect("TCP").poll_read_ready(cx)).await.expect("its reset has come");
        let drained = poll_fn(|cx| splice.poll_drain(cx, Some(&to)).expect("something is on its way")).await;
        assert_eq!(drained.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    }
}
