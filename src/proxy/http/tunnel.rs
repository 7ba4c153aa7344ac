//! What happens after 101? Bytes go both ways as they come, until both sides have ended: see [`Conversation`].
//!
//! Of the request only its story goes on. Its memory is given back, and the [`Tunnel`] is polled by the connection's own task: so a message
//! goes through nothing else, and a tunnel that is silent holds little.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::answer::write_all;
use super::attempt::Transaction;
use super::attempts::report;
use super::connection::{After, Connection};
use super::headers::Delivery;
use super::request::Exchange;
use super::scratch::Scratch;
use super::side::Side;
use super::story::Story;
use crate::clock::Timestamp;
use crate::health::Outcome;
use crate::proxy::conversation::{Conversation, Over, Party, Way};
use crate::shape::Held;
use crate::telemetry::{Attempt, Why};
use crate::topology::{Lease, Route};

/// How long one side may be silent after the other has ended: protocols that go on with one half are rare, and clients
/// that are gone without a word to their application are not. (nginx ends both at once.)
const HALF: Duration = Duration::from_secs(30);

/// The other end of a connection that has switched protocols, and what is left of the request that it did so with.
pub struct Tunnel {
    conversation: Conversation,
    peer: Side,
    usage: Usage,
    /// What had been said when last somebody spoke, and whether one direction was over.
    known: (u64, bool),
    route: Arc<Route>,
    story: Story,
    /// What the story is told by.
    record: Box<Scratch>,
    /// What limits count it as.
    pub held: Vec<Held>,
}

/// The use of the peer, which lasts as long as the tunnel.
struct Usage {
    lease: Option<(Lease, Outcome)>,
    answered: Timestamp,
    /// Where it stands among the attempts.
    entry: usize,
}

impl Exchange<'_> {
    /// Passes on the agreement to speak another protocol.
    pub async fn switch(&mut self, mut d: Box<Transaction>) -> After {
        let bond = self.bind(&d);
        let head = self.write_answer(Delivery::Empty, true, bond.cookie.as_ref());
        self.conn.stream.announce(false);
        self.story.status = self.s.response.status();
        self.story.sent = head;
        if let Some(lease) = &mut d.lease {
            report(lease.head_received(d.answered));
        }
        let rules = self.rules();
        let written = write_all(self.conn, self.s, rules.client.send_timeout).await;
        let Transaction { peer, answered, lease, outcome, entry, .. } = *d;
        let (mut peer, mut usage) =
            (peer.stream, Usage { lease: lease.map(|lease| (lease, outcome)), answered, entry });
        let now = self.conn.worker.now();
        if written.is_err() {
            usage.end(&mut self.s.attempts, now);
            self.story.why = Some(Why::ClientGone);
            peer.cancel(true);
            self.conn.stream.cancel(true);
            return After::Reset;
        }
        self.conn.deadline.set(now, rules.proxy.tunnel_timeout);
        let (up, down) = (Way::with(&mut self.s.client_in), Way::with(&mut self.s.peer_in));
        self.story.body_received = self.body.received;
        After::Tunnel(Box::new(Tunnel {
            conversation: Conversation { up, down },
            peer,
            usage,
            known: (0, false),
            route: Arc::clone(self.route),
            story: self.story.take(),
            record: self.s.record(),
            held: Vec::new(),
        }))
    }
}

impl Usage {
    fn end(&mut self, attempts: &mut [Attempt], now: Timestamp) {
        if let Some(attempt) = attempts.get_mut(self.entry) {
            attempt.response_time += now.since(self.answered);
        }
        if let Some((lease, outcome)) = self.lease.take() {
            report(lease.finish(outcome, now));
        }
    }
}

impl Tunnel {
    /// Passes on what both say. Ready when it is over, and told.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>, conn: &mut Connection) -> Poll<After> {
        let Connection { stream, deadline, worker, .. } = conn;
        // Most are plain on both sides, which need not be asked at every step then.
        let polled = match (stream, &mut self.peer) {
            (Side::Http1(client), Side::Http1(peer)) => self.conversation.poll(cx, client, peer),
            (client, peer) => self.conversation.poll(cx, client, peer),
        };
        if let Poll::Ready(over) = polled {
            return Poll::Ready(self.end(conn, Some(over)));
        }
        let (said, half) = (self.conversation.said(), self.conversation.is_half());
        if (said, half) != self.known {
            self.known = (said, half);
            let idle = self.route.location.proxy.tunnel_timeout;
            deadline.set(worker.now(), if half { idle.min(HALF) } else { idle });
        }
        // Neither says anything.
        ready!(deadline.poll(cx));
        Poll::Ready(self.end(conn, None))
    }

    /// `over`: how it has ended; what has not ended by itself is cut here.
    #[inline(never)]
    fn end(&mut self, conn: &mut Connection, over: Option<Over>) -> After {
        let Tunnel { conversation, story, record, .. } = self;
        self.usage.end(&mut record.attempts, conn.worker.now());
        story.sent += conversation.down.written;
        story.body_sent = conversation.down.written;
        story.body_received += conversation.up.written;
        if let Some(Over::Reset(Party::Client) | Over::Deaf(Party::Client)) = over {
            story.why = Some(Why::ClientGone);
        }
        let cut = matches!(over, Some(Over::Reset(_)));
        self.peer.cancel(cut);
        conn.stream.cancel(cut);
        story.tell(conn, record, Some(&self.route));
        if cut { After::Reset } else { After::Close }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_tunnel_is_small() {
        let (tunnel, record) = (size_of::<Tunnel>(), size_of::<Scratch>());
        println!("{tunnel} and {record}");
        assert!(tunnel + record <= 1_408, "{tunnel} and {record} bytes");
    }
}
