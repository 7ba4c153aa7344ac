//! One client's connection and the peer's, from the choice of the peer to the end of both.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::entry::Refused;
use super::{Course, Story, Turn};
use crate::endpoint::Endpoint;
use crate::health::Outcome;
use crate::net::{Accepted, Deadline, Stream};
use crate::proxy::conversation::{Conversation, Over, Party};
use crate::proxy::dial::{self, Content};
use crate::proxy::http::{Trouble, in_place, report};
use crate::proxy::worker::{Seat, Worker};
use crate::telemetry::{Failure, SessionEnd};
use crate::topology::{Lease, StreamRoute};

/// A client's connection, and what serves it.
pub(super) struct Session {
    pub(super) worker: Rc<Worker>,
    seat: Seat,
    pub(super) client: Stream,
    /// What the client connected to.
    pub(super) local: Endpoint,
    /// The one timer for all its waits.
    pub(super) deadline: Deadline,
    pub(super) course: Course,
    pub(super) story: Story,
    conversation: Conversation,
    /// What had been said when last somebody spoke.
    said: u64,
}

/// Why there is no peer.
enum Unreached {
    /// The client left before.
    Left,
    /// There is nobody to ask.
    Nobody,
    /// Whoever was asked failed.
    Failed,
}

/// Why there is no connection.
enum Unconnected {
    Left,
    Peer(Trouble),
}

/// Serves a client of a stream until both sides have said all.
pub fn serve(seat: Seat, accepted: Accepted, route: Arc<StreamRoute>) -> impl Future<Output = ()> {
    let Accepted { stream: client, remote, local } = accepted;
    let worker = Rc::clone(&seat.worker);
    let mut session = Session {
        seat,
        local: local.map_or_else(|| route.listener.clone(), Endpoint::Ip),
        client,
        deadline: Deadline::new(),
        course: Course::new(route, remote),
        story: Story::new("TCP", remote, worker.next_serial(), worker.clock.now()),
        conversation: Conversation::default(),
        said: 0,
        worker,
    };
    async move {
        session.seat.slot.occupy().await;
        // Boxed, so that what only the beginning needs is not kept for the whole session.
        if let Some((mut peer, lease)) = in_place(|| session.begin()).await {
            session.deadline.set(session.worker.now(), session.course.route.proxy.timeout);
            let over = poll_fn(|cx| session.poll(cx, &mut peer)).await;
            session.end(over, peer, lease);
        }
    }
}

impl Session {
    /// A connection to a peer; `None`: there is none, and the story is told.
    async fn begin(&mut self) -> Option<(Stream, Lease)> {
        let route = &self.course.route;
        let wants_more = route.proxy_protocol || route.acceptor.is_some();
        let refused = match if wants_more { Box::pin(self.enter()).await } else { Ok(()) } {
            Ok(()) => match self.reach().await {
                Ok(reached) => return Some(reached),
                Err(Unreached::Left) => None,
                Err(Unreached::Nobody) => Some(503),
                Err(Unreached::Failed) => Some(502),
            },
            Err(Refused::Unknown) => return None,
            Err(Refused::Tls) => Some(400),
        };
        if let Some(status) = refused {
            (self.story.status, self.story.end) = (status, SessionEnd::NoPeer);
        }
        self.tell();
        None
    }

    /// A connection to a peer: one is asked after the other.
    async fn reach(&mut self) -> Result<(Stream, Lease), Unreached> {
        let mut failed = false;
        loop {
            let mut turn = match self.lease().await {
                // What the last attempt came to says more than that nobody is left.
                Err(Unreached::Nobody) if failed => return Err(Unreached::Failed),
                leased => leased?,
            };
            match self.connect(&turn).await {
                Ok(peer) => {
                    self.course.connected(&mut turn.lease, self.worker.now());
                    return Ok((peer, turn.lease));
                }
                Err(Unconnected::Left) => {
                    self.course.left(turn.lease, self.worker.now());
                    return Err(Unreached::Left);
                }
                Err(Unconnected::Peer(trouble)) => {
                    failed = true;
                    if self.course.failed(&self.worker, turn, &trouble, false).is_err() {
                        return Err(Unreached::Failed);
                    }
                }
            }
        }
    }

    /// A peer to ask. A client that ends without a word while it waits for one has left; else it may have said all.
    async fn lease(&mut self) -> Result<Turn, Unreached> {
        let Session { worker, client, course, conversation, .. } = self;
        let mut waiting = pin!(course.lease(worker));
        poll_fn(|cx| {
            if let Poll::Ready(leased) = waiting.as_mut().poll(cx) {
                return Poll::Ready(leased.map_err(|_| Unreached::Nobody));
            }
            match conversation.up.read_ahead(cx, client) {
                Ok(()) if !conversation.up.is_mute() => Poll::Pending,
                _ => Poll::Ready(Err(Unreached::Left)),
            }
        })
        .await
    }

    async fn connect(&mut self, turn: &Turn) -> Result<Stream, Unconnected> {
        let Session { worker, seat, client, local, deadline, course, conversation, .. } = self;
        let (peer, limit) = (turn.lease.peer(), course.route.proxy.connect_timeout);
        let header = dial::header(&turn.group, course.client, local);
        if poll_fn(|cx| Poll::Ready(conversation.up.read_ahead(cx, client))).await.is_err() {
            return Err(Unconnected::Left);
        }
        let content = Content::Bytes { begun: conversation.up.has_words() };
        deadline.set(worker.now(), limit);
        seat.slot.wait_for(Some(peer.id));
        let mut connecting = pin!(dial::open(&turn.group, peer, header.as_deref(), content));
        let connected = poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(connected.map_err(Unconnected::Peer));
            }
            if turn.may_abandon && seat.slot.is_connect_vain() {
                return Poll::Ready(Err(Unconnected::Peer(Trouble::abandoned())));
            }
            if conversation.up.read_ahead(cx, client).is_err() {
                return Poll::Ready(Err(Unconnected::Left));
            }
            let late = || Trouble::new(Failure::ConnectTimeout, format!("no connection within {limit:?}"));
            deadline.poll(cx).map(|()| Err(Unconnected::Peer(late())))
        })
        .await;
        seat.slot.wait_for(None);
        connected
    }

    /// Passes on what both say. Ready when both have ended, or neither has said anything for `proxy_timeout`, which is `None`. A side that
    /// takes no more is still listened to; a reset is passed on as one, after what was said before it.
    fn poll(&mut self, cx: &mut Context<'_>, peer: &mut Stream) -> Poll<Option<Over>> {
        if let Poll::Ready(over) = self.conversation.poll(cx, &mut self.client, peer) {
            return Poll::Ready(Some(over));
        }
        let said = self.conversation.said();
        if said != self.said {
            self.said = said;
            self.deadline.set(self.worker.now(), self.course.route.proxy.timeout);
        }
        self.deadline.poll(cx).map(|()| None)
    }

    /// It has come to its end, and is told.
    fn end(&mut self, over: Option<Over>, mut peer: Stream, lease: Lease) {
        self.story.end = match over {
            None => SessionEnd::Idle,
            Some(Over::Done) => SessionEnd::Done,
            Some(Over::Deaf(Party::Client)) => SessionEnd::ClientReset,
            Some(Over::Deaf(Party::Peer)) => SessionEnd::PeerReset,
            Some(Over::Reset(Party::Client)) => {
                peer.reset_on_close();
                SessionEnd::ClientReset
            }
            Some(Over::Reset(Party::Peer)) => {
                self.client.reset_on_close();
                SessionEnd::PeerReset
            }
        };
        self.story.status = 200;
        let now = self.worker.now();
        self.course.ended(&lease, now);
        // It was there to connect to, and what is said afterwards weir does not understand.
        report(lease.finish(Outcome::Success, now));
        self.tell();
    }

    fn tell(&mut self) {
        self.story.sent = self.conversation.down.written;
        self.story.received = self.conversation.up.read;
        self.story.tell(&self.worker, &self.course);
    }
}
