//! What follows a 101: bytes both ways, until both sides have said all. (RFC 9110 §7.8, RFC 6455.)

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::answer::write_all;
use super::attempts::{Delivered, report};
use super::connection::After;
use super::headers;
use super::request::Exchange;
use crate::health::Outcome;
use crate::http1::{Framing, RequestHead};
use crate::net::{Buffer, Stream};
use crate::telemetry::Why;

/// The protocol that a request may switch to. Not for a request with a body, nor to HTTP/2: what came after that could
/// no longer be told apart.
pub fn wanted(head: &RequestHead) -> Option<&[u8]> {
    let plain = matches!(head.framing(), Framing::None | Framing::Length(0));
    let is_http2 = |protocol: &[u8]| protocol.trim_ascii().to_ascii_lowercase().starts_with(b"h2");
    head.upgrade().filter(|protocols| plain && !protocols.split(|b| *b == b',').any(is_http2))
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Its sender has said all.
    ended: bool,
    /// Its receiver knows.
    closed: bool,
    /// Bytes passed on.
    passed: u64,
}

impl Way {
    /// Moves what can be moved. Ready when the receiver knows that nothing more comes.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        held: &mut Buffer,
        progress: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.closed {
            if !held.is_empty() {
                let n = ready!(to.poll_write_vectored(cx, &[IoSlice::new(held.data())]))?;
                held.consume(n);
                self.passed += n as u64;
                *progress = true;
            } else if self.ended {
                to.shutdown_write();
                self.closed = true;
            } else {
                match ready!(held.poll_fill(from, cx, Buffer::STREAMING))? {
                    0 => self.ended = true,
                    _ => *progress = true,
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Exchange<'_> {
    /// Passes on the 101 that is in the scratch, and then bytes, for as long as either side has some. The peer's lease
    /// lasts as long.
    pub async fn tunnel(&mut self, mut d: Delivered) -> After {
        let rules = self.rules();
        headers::write_switch(&mut self.s.to_client, &self.s.response);
        self.story.status = 101;
        self.story.sent = self.s.to_client.len() as u64;
        if let Some(lease) = &mut d.lease {
            lease.head_received(d.answered.at);
        }
        let mut end = write_all(self.conn, self.s, rules.client.send_timeout).await.map_err(|_| Why::ClientGone);
        let (mut up, mut down) = (Way::default(), Way::default());
        if end.is_ok() {
            let client = &mut *self.conn;
            let s = &mut *self.s;
            let idle = rules.proxy.tunnel_timeout;
            client.deadline.set(client.worker.clock.now(), idle);
            end = poll_fn(|cx| {
                let mut progress = false;
                let (stream, peer) = (&mut client.stream, &mut d.peer.stream);
                let up_end = up.poll(cx, stream, peer, &mut s.client_in, &mut progress);
                let down_end = down.poll(cx, peer, stream, &mut s.peer_in, &mut progress);
                match (up_end, down_end) {
                    (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
                    (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(Err(Why::AnswerBegun)),
                    _ => {}
                }
                if progress {
                    client.deadline.set(client.worker.clock.now(), idle);
                }
                client.deadline.poll(cx).map(|()| Err(Why::AnswerBegun))
            })
            .await;
        }
        let now = self.conn.worker.clock.now();
        if let Some(attempt) = self.s.attempts.get_mut(d.entry) {
            attempt.response_time += now.since(d.answered.at);
        }
        if let Some(lease) = d.lease.take() {
            // It switched as it was asked to; how the two then part is theirs.
            report(lease.finish(Outcome::Success, now));
        }
        self.body.received += up.passed;
        self.story.sent += down.passed;
        self.story.body_sent = down.passed;
        match end {
            Ok(()) => After::Close,
            Err(_) => After::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    fn wanted_by(fields: &[(&str, &str)]) -> Option<String> {
        let mut head = RequestHead::new();
        let all =
            std::iter::once(&("Host", "a")).chain(fields).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        head.compose(b"GET", b"/", all, &Limits::default()).expect("it is a request");
        wanted(&head).map(|protocol| String::from_utf8_lossy(protocol).into_owned())
    }

    #[test]
    fn a_request_may_switch_to_what_its_connection_names() {
        let upgrade = ("Connection", "keep-alive, Upgrade");
        assert_eq!(wanted_by(&[upgrade, ("Upgrade", "websocket")]).as_deref(), Some("websocket"));
        assert_eq!(wanted_by(&[("Upgrade", "websocket")]), None, "Connection does not name it");
        assert_eq!(wanted_by(&[]), None);
    }

    #[test]
    fn nobody_switches_to_http2_or_with_a_body() {
        let upgrade = ("Connection", "Upgrade");
        assert_eq!(wanted_by(&[upgrade, ("Upgrade", "h2c")]), None);
        assert_eq!(wanted_by(&[upgrade, ("Upgrade", "websocket, H2C")]), None);
        assert_eq!(wanted_by(&[upgrade, ("Upgrade", "websocket"), ("Content-Length", "3")]), None);
    }
}
