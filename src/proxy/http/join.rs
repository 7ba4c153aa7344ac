//! Over which shared connection does a request go to a peer that speaks HTTP/2?

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::attempt::{End, PeerConn};
use super::http2::{Ended, Entry, Link, Opening, Peers, dial};
use super::outcome::Trouble;
use super::request::Exchange;
use super::side::Side;
use crate::net::{self, Reuse, Stream};
use crate::telemetry::Failure;
use crate::topology::{Group, Lease};

/// How long the connections of a group serve.
pub fn limits_of(group: &Group) -> net::Limits {
    net::Limits {
        idle: group.config.keepalive,
        idle_time: group.config.keepalive_timeout,
        requests: group.config.keepalive_requests,
        age: group.config.keepalive_time,
    }
}

impl Exchange<'_> {
    /// A stream to the leased peer, over a connection that has room for it or a new one.
    pub async fn join(&mut self, group: &Group, lease: &Lease, may_abandon: bool) -> Result<PeerConn, End> {
        let worker = self.conn.worker.clone();
        let trust = group.config.tls.as_ref().map(|connector| connector.id());
        if group.config.proxy_protocol.is_some() {
            // The header names one client: its connection is nobody else's.
            let link = self.open(group, lease, may_abandon).await?;
            let reuse = Reuse { opened: worker.now(), requests: 0, promised: None, trust: None };
            let stream = Side::Http2(Box::new(link.alone(&worker)));
            return Ok(PeerConn { stream, reuse, untested: false });
        }
        loop {
            match Peers::enter(&worker, lease.peer().id, trust, worker.now()) {
                Entry::Stream(stream, untested) => {
                    let reuse = Reuse { opened: worker.now(), requests: 0, promised: None, trust: None };
                    return Ok(PeerConn { stream: Side::Http2(stream), reuse, untested });
                }
                Entry::Wait(opening) => self.wait_for(&opening, may_abandon).await?,
                Entry::Open(turn) => match self.open(group, lease, may_abandon).await {
                    Ok(link) => turn.opened(link),
                    Err(End::Peer(trouble)) => {
                        turn.failed(&trouble);
                        return Err(End::Peer(trouble));
                    }
                    Err(end) => return Err(end),
                },
            }
        }
    }

    async fn open(&mut self, group: &Group, lease: &Lease, may_abandon: bool) -> Result<Link, End> {
        let opened = self.connect(group, lease.peer(), may_abandon).await?;
        let Side::Http1(stream) = opened.stream else { return Err(End::Peer(Trouble::abandoned())) };
        let send = self.shake_hands(stream).await?;
        Ok(Link::new(send, limits_of(group), opened.reuse.trust, self.conn.worker.now()))
    }

    /// Within what is left of `proxy_connect_timeout`.
    async fn shake_hands(&mut self, stream: Stream) -> Result<h2::client::SendRequest<bytes::Bytes>, End> {
        let proxy = self.rules().proxy;
        let mut shaking = pin!(dial(stream, proxy.max_response_head));
        let deadline = &mut self.conn.deadline;
        poll_fn(|cx| match shaking.as_mut().poll(cx) {
            Poll::Ready(Ok(send)) => Poll::Ready(Ok(send)),
            Poll::Ready(Err(_)) => {
                Poll::Ready(Err(End::Peer(Trouble::new(Failure::Connect, "closed the connection at once"))))
            }
            Poll::Pending => deadline.poll(cx).map(|()| Err(End::Peer(Trouble::late(Failure::ConnectTimeout, proxy)))),
        })
        .await
    }

    /// Waits for a connection that another request opens. Its failure is this one's too, but counts once.
    async fn wait_for(&mut self, opening: &Opening, may_abandon: bool) -> Result<(), End> {
        let proxy = self.rules().proxy;
        let Exchange { conn, s, .. } = self;
        conn.deadline.set(conn.worker.now(), proxy.connect_timeout);
        poll_fn(|cx| {
            match opening.poll(cx) {
                Poll::Ready(Ended::AskAgain) => return Poll::Ready(Ok(())),
                Poll::Ready(Ended::Failed(trouble)) => return Poll::Ready(Err(End::Peer(trouble.blames(false)))),
                Poll::Pending => {}
            }
            if may_abandon && conn.seat.slot.is_connect_vain() {
                return Poll::Ready(Err(End::Peer(Trouble::abandoned())));
            }
            if conn.stream.has_left(cx, &mut s.client_in) {
                return Poll::Ready(Err(End::Left));
            }
            let late = || Trouble::late(Failure::ConnectTimeout, proxy).blames(false);
            conn.deadline.poll(cx).map(|()| Err(End::Peer(late())))
        })
        .await
    }
}
