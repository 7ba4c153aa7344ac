//! What happens after 101? Bytes go both ways as they come, until both sides have ended.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::answer::write_all;
use super::attempts::{Delivered, report};
use super::connection::{After, Connection};
use super::headers::Delivery;
use super::request::Exchange;
use super::side::Side;
use crate::net::Buffer;
use crate::telemetry::Why;

/// How long one side may be silent after the other has ended: protocols that go on with one half are rare, and clients
/// that are gone without a word to their application are not. (nginx ends both at once.)
const HALF: Duration = Duration::from_secs(30);

/// How a tunnel ended.
enum End {
    /// Both sides have said all.
    Done,
    /// Neither said anything for `tunnel_timeout`.
    Silent,
    /// A connection broke.
    Broken,
}

impl Exchange<'_> {
    /// Passes on the agreement to speak another protocol, and then what is spoken. The lease lasts as long.
    pub async fn tunnel(&mut self, mut d: Box<Delivered>) -> After {
        let rules = self.rules();
        let bond = self.bind(&d);
        let head = self.write_answer(Delivery::Empty, true, bond.cookie.as_ref());
        self.conn.stream.announce(false);
        self.story.status = self.s.response.status();
        self.story.sent = head;
        if let Some(lease) = &mut d.lease {
            report(lease.head_received(d.answered.at));
        }
        let (mut up, mut down) = (Way::default(), Way::default());
        let end = match write_all(self.conn, self.s, rules.client.send_timeout).await {
            Err(_) => End::Broken,
            Ok(()) => {
                let idle = rules.proxy.tunnel_timeout;
                let Connection { stream: client, deadline, worker, .. } = &mut *self.conn;
                let (peer, s) = (&mut d.peer.stream, &mut *self.s);
                let mut was_half = false;
                deadline.set(worker.now(), idle);
                poll_fn(|cx| {
                    let before = (up.read, down.read);
                    let ways =
                        (up.poll(cx, client, peer, &mut s.client_in), down.poll(cx, peer, client, &mut s.peer_in));
                    match ways {
                        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Done),
                        (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Broken),
                        _ => {}
                    }
                    let half = up.told || down.told;
                    if (up.read, down.read) != before || half != was_half {
                        was_half = half;
                        deadline.set(worker.now(), if half { idle.min(HALF) } else { idle });
                    }
                    deadline.poll(cx).map(|()| End::Silent)
                })
                .await
            }
        };
        let now = self.conn.worker.now();
        if let Some(attempt) = self.s.attempts.get_mut(d.entry) {
            attempt.response_time += now.since(d.answered.at);
        }
        if let Some(lease) = d.lease.take() {
            report(lease.finish(d.outcome, now));
        }
        self.story.sent += down.written;
        self.story.body_sent = down.written;
        self.body.received += up.written;
        match end {
            End::Done | End::Silent => After::Close,
            End::Broken => {
                self.story.why = Some(Why::ClientGone);
                After::Reset
            }
        }
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    read: u64,
    written: u64,
    /// The one who speaks has said all.
    ended: bool,
    /// And the one who listens knows.
    told: bool,
}

impl Way {
    /// Moves what there is. Ready when the end was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<()>> {
        while !self.told {
            if !buffer.is_empty() {
                let n = ready!(to.poll_write(cx, &[IoSlice::new(buffer.data())]))?;
                buffer.consume(n);
                self.written += n as u64;
            } else if self.ended {
                to.shutdown_write();
                // Fails only when the other side is gone already.
                let _ = ready!(to.poll_flush(cx));
                self.told = true;
            } else {
                // What the kernel has not taken goes on going out; an error is found by the next write.
                let _ = to.poll_flush(cx);
                let n = ready!(from.poll_fill(buffer, cx, Buffer::STREAMING))?;
                self.read += n as u64;
                self.ended = n == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}
