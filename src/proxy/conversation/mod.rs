//! What do two say to each other whom weir does not understand? The client of a stream and its peer, and both ends of a tunnel
//! within HTTP: bytes go both ways as they come, until both sides have ended.
//!
//! A side that takes no more is still listened to. A reset is passed on as one, after what was said before it.

mod way;

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

pub use way::Way;
use way::{Broken, Gone};

use crate::net::{Buffer, Stream};

/// One of the two: a connection, or a stream of one.
pub trait Speaker {
    /// Reads once into `buffer`, which holds no more than `limit` bytes then; `Ok(0)` is the end.
    fn poll_fill(&mut self, buffer: &mut Buffer, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>>;

    /// Writes what goes now.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// The same with what is written last: the end of this side's sending comes next, without a wait.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, bytes)
    }

    /// Ready when the kernel has all that was written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends this side's sending.
    fn shutdown_write(&mut self);

    /// The connection that it has to itself.
    fn connection(&self) -> Option<&Stream>;
}

impl Speaker for Stream {
    #[inline]
    fn poll_fill(&mut self, buffer: &mut Buffer, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        buffer.poll_fill(self, cx, limit)
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(self, cx, bytes)
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write_last(self, cx, &[IoSlice::new(bytes)])
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self, cx)
    }

    fn shutdown_write(&mut self) {
        Stream::shutdown_write(self);
    }

    #[inline]
    fn connection(&self) -> Option<&Stream> {
        Some(self)
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub struct Conversation {
    /// From the client.
    pub up: Way,
    /// To the client.
    pub down: Way,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Who came.
    Client,
    /// Who was asked.
    Peer,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Both have said all, and heard it.
    Done,
    /// This one was reset: so is the other.
    Reset(Party),
    /// This one took no more, and both have said all.
    Deaf(Party),
}

impl Conversation {
    /// Bytes taken and given, both ways: grows when something was said.
    pub fn said(&self) -> u64 {
        let (up, down) = (&self.up, &self.down);
        up.read + up.written + down.read + down.written
    }

    /// Whether one direction is over.
    pub fn is_half(&self) -> bool {
        self.up.is_over() || self.down.is_over()
    }

    /// Moves what there is. Both connections are closed when it is over.
    pub fn poll<C: Speaker, P: Speaker>(&mut self, cx: &mut Context<'_>, client: &mut C, peer: &mut P) -> Poll<Over> {
        let (up, down) = (&mut self.up, &mut self.down);
        let upwards = up.poll(cx, client, peer, down.is_told());
        if upwards == Poll::Ready(Err(Broken::Sink(Gone::Reset))) {
            down.break_off();
        }
        let downwards = down.poll(cx, peer, client, up.is_told());
        if downwards == Poll::Ready(Err(Broken::Sink(Gone::Reset))) {
            up.break_off();
        }
        match (upwards, downwards) {
            (Poll::Ready(Err(Broken::Source)), _) => Poll::Ready(Over::Reset(Party::Client)),
            (_, Poll::Ready(Err(Broken::Source))) => Poll::Ready(Over::Reset(Party::Peer)),
            (Poll::Ready(Err(_)), Poll::Ready(_)) => Poll::Ready(Over::Deaf(Party::Peer)),
            (Poll::Ready(_), Poll::Ready(Err(_))) => Poll::Ready(Over::Deaf(Party::Client)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Over::Done),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::ErrorKind;
    use std::task::Waker;

    use super::*;

    /// One whose words are written down.
    #[derive(Default)]
    struct Scripted {
        /// What it says, and `None` for its end; then nothing.
        says: VecDeque<Option<&'static str>>,
        /// How it breaks once that is said.
        breaks: Option<ErrorKind>,
        /// Why it takes nothing.
        deaf: Option<ErrorKind>,
        heard: String,
        ended: bool,
    }

    impl Speaker for Scripted {
        fn poll_fill(&mut self, buffer: &mut Buffer, _: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
            match (self.says.pop_front(), self.breaks) {
                (Some(words), _) => Poll::Ready(Ok(words.map_or(0, |words| buffer.append(words.as_bytes(), limit)))),
                (None, Some(error)) => Poll::Ready(Err(error.into())),
                (None, None) => Poll::Pending,
            }
        }

        fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if let Some(error) = self.deaf {
                return Poll::Ready(Err(error.into()));
            }
            self.heard += std::str::from_utf8(bytes).unwrap();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn shutdown_write(&mut self) {
            self.ended = true;
        }

        fn connection(&self) -> Option<&Stream> {
            None
        }
    }

    fn saying(says: &[Option<&'static str>]) -> Scripted {
        Scripted { says: says.iter().copied().collect(), ..Scripted::default() }
    }

    /// How it ends, and what the client has heard.
    fn passed_on(mut client: Scripted, mut peer: Scripted) -> (Poll<Over>, String, bool) {
        let mut conversation = Conversation::default();
        let mut cx = Context::from_waker(Waker::noop());
        let over = conversation.poll(&mut cx, &mut client, &mut peer);
        (over, client.heard, client.ended)
    }

    #[test]
    fn it_is_over_when_both_have_ended() {
        let (hello, end) = (Some("hello"), None);
        for (client, peer, expected) in [
            (&[hello, end][..], &[hello, end][..], (Poll::Ready(Over::Done), true)),
            (&[hello], &[hello, end], (Poll::Pending, true)),
            (&[hello, end], &[hello], (Poll::Pending, false)),
        ] {
            let (over, heard, ended) = passed_on(saying(client), saying(peer));
            assert_eq!(((over, ended), heard.as_str()), (expected, "hello"));
        }
    }

    #[test]
    fn who_takes_no_more_is_still_heard() {
        let peer = |says| Scripted { deaf: Some(ErrorKind::BrokenPipe), ..saying(says) };
        let client = || saying(&[Some("hello")]);
        let (over, heard, ended) = passed_on(client(), peer(&[Some("no"), Some(" room"), None]));
        assert_eq!((over, heard.as_str(), ended), (Poll::Ready(Over::Deaf(Party::Peer)), "no room", true));
        let (over, heard, _) = passed_on(client(), peer(&[Some("no")]));
        assert_eq!((over, heard.as_str()), (Poll::Pending, "no"), "it may go on");
    }

    #[test]
    fn a_reset_is_passed_on_after_what_was_said_before() {
        let says = &[Some("no room"), None];
        let reset = Scripted { deaf: Some(ErrorKind::ConnectionReset), ..saying(says) };
        let (over, heard, ended) = passed_on(saying(&[Some("hello")]), reset);
        assert_eq!((over, heard.as_str(), ended), (Poll::Ready(Over::Reset(Party::Peer)), "no room", false));
        let reset = Scripted { breaks: Some(ErrorKind::ConnectionReset), ..saying(&says[..1]) };
        let (over, heard, ended) = passed_on(saying(&[]), reset);
        assert_eq!((over, heard.as_str(), ended), (Poll::Ready(Over::Reset(Party::Peer)), "no room", false));
    }
}
