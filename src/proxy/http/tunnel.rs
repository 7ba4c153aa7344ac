//! What happens after 101? Bytes go both ways as they come, until both sides have ended: see [`Conversation`].

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::answer::write_all;
use super::attempt::Transaction;
use super::attempts::report;
use super::connection::{After, Connection};
use super::headers::Delivery;
use super::request::Exchange;
use crate::proxy::conversation::{Conversation, Over, Party, Way};
use crate::telemetry::Why;

/// How long one side may be silent after the other has ended: protocols that go on with one half are rare, and clients
/// that are gone without a word to their application are not. (nginx ends both at once.)
const HALF: Duration = Duration::from_secs(30);

impl Exchange<'_> {
    /// Passes on the agreement to speak another protocol, and then what is spoken. The lease lasts as long.
    pub async fn tunnel(&mut self, mut d: Box<Transaction>) -> After {
        let rules = self.rules();
        let bond = self.bind(&d);
        let head = self.write_answer(Delivery::Empty, true, bond.cookie.as_ref());
        self.conn.stream.announce(false);
        self.story.status = self.s.response.status();
        self.story.sent = head;
        if let Some(lease) = &mut d.lease {
            report(lease.head_received(d.answered));
        }
        let (up, down) = (Way::with(&mut self.s.client_in), Way::with(&mut self.s.peer_in));
        let mut conversation = Conversation { up, down };
        let end = match write_all(self.conn, self.s, rules.client.send_timeout).await {
            Err(_) => Some(Over::Reset(Party::Client)),
            Ok(()) => {
                let idle = rules.proxy.tunnel_timeout;
                let Connection { stream: client, deadline, worker, .. } = &mut *self.conn;
                let (peer, mut was_half) = (&mut d.peer.stream, false);
                deadline.set(worker.now(), idle);
                poll_fn(|cx| {
                    let before = conversation.said();
                    if let Poll::Ready(over) = conversation.poll(cx, client, peer) {
                        return Poll::Ready(Some(over));
                    }
                    let half = conversation.is_half();
                    if conversation.said() != before || half != was_half {
                        was_half = half;
                        deadline.set(worker.now(), if half { idle.min(HALF) } else { idle });
                    }
                    // Neither says anything.
                    deadline.poll(cx).map(|()| None)
                })
                .await
            }
        };
        let now = self.conn.worker.now();
        if let Some(attempt) = self.s.attempts.get_mut(d.entry) {
            attempt.response_time += now.since(d.answered);
        }
        if let Some(lease) = d.lease.take() {
            report(lease.finish(d.outcome, now));
        }
        self.story.sent += conversation.down.written;
        self.story.body_sent = conversation.down.written;
        self.body.received += conversation.up.written;
        if let Some(Over::Reset(Party::Client) | Over::Deaf(Party::Client)) = end {
            self.story.why = Some(Why::ClientGone);
        }
        // What has not ended by itself is cut here.
        let cut = matches!(end, Some(Over::Reset(_)));
        d.peer.stream.cancel(cut);
        self.conn.stream.cancel(cut);
        if cut { After::Reset } else { After::Close }
    }
}
