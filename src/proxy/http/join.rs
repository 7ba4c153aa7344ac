//! Over which shared connection does a request go to a peer that speaks HTTP/2?

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use super::attempt::{End, PeerConn};
use super::body::ClientEnd;
use super::http2::{self, Ended, Entry, Link, Peers, Waiting, dial};
use super::outcome::Trouble;
use super::request::Exchange;
use super::side::Side;
use super::{headers, websocket};
use crate::http1::Version;
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
    pub async fn join(&mut self, group: &Group, lease: &Lease, may_abandon: bool) -> Result<Box<PeerConn>, End> {
        let wants_tunnel = headers::extended_connect(&self.s.request).is_some();
        // What came by HTTP/2 has its key from weir.
        if wants_tunnel && self.s.request.version() != Version::Http2 && !websocket::is_handshake(&self.s.request) {
            return Err(End::Client(ClientEnd::NoHandshake));
        }
        let (stream, untested) = loop {
            let (stream, untested) = self.stream(group, lease, may_abandon).await?;
            if !wants_tunnel {
                break (stream, untested);
            }
            match self.ask_for_tunnels(&stream, lease, may_abandon).await {
                Ok(()) => break (stream, untested),
                // It may have been closed long ago: the next one tells, a new one at last.
                Err(End::Peer(trouble)) if untested && trouble.is_a_close() => {}
                Err(end) => return Err(end),
            }
        };
        let reuse = Reuse { opened: self.conn.worker.now(), requests: 0, promised: None, trust: None };
        Ok(Box::new(PeerConn { stream: Side::Http2(stream), reuse, untested }))
    }

    async fn stream(
        &mut self,
        group: &Group,
        lease: &Lease,
        may_abandon: bool,
    ) -> Result<(Box<http2::Stream>, bool), End> {
        let worker = self.conn.worker.clone();
        let trust = group.config.tls.as_ref().map(|connector| connector.id());
        if group.config.proxy_protocol.is_some() {
            // The header names one client: its connection is nobody else's.
            let link = self.open(group, lease, may_abandon).await?;
            return Ok((Box::new(link.alone(&worker)), false));
        }
        loop {
            match Peers::enter(&worker, lease.peer().id, trust, worker.now()) {
                Entry::Stream(stream, untested) => return Ok((stream, untested)),
                Entry::Wait(opening) => self.wait_for(&opening, may_abandon).await?,
                Entry::Full => return Err(End::Peer(Trouble::busy())),
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
    async fn shake_hands(&mut self, stream: Stream) -> Result<http2::Begun, End> {
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

    /// Whether the peer takes extended CONNECT, for which its settings are waited for within `proxy_connect_timeout`. One that
    /// does not is not asked in any other way: there is none that it could agree to.
    async fn ask_for_tunnels(&mut self, stream: &http2::Stream, lease: &Lease, may_abandon: bool) -> Result<(), End> {
        let limit = self.rules().proxy.connect_timeout;
        let Some(connection) = stream.connection() else { return Ok(()) };
        let Some(settings) = connection.settings() else { return Err(End::Peer(Trouble::busy())) };
        match self.wait_for(&settings, may_abandon).await {
            Ok(()) if connection.takes_connect() => Ok(()),
            Ok(()) => {
                if self.conn.worker.tunnelless.due(self.conn.worker.now()).is_some() {
                    let (group, peer) = (&lease.group().name, lease.peer().described());
                    tracing::warn!(
                        "{group}/{peer} does not offer extended CONNECT (RFC 8441): it cannot be asked for a WebSocket"
                    );
                }
                Err(End::Peer(Trouble::new(Failure::NoConnect, "does not offer extended CONNECT")))
            }
            Err(End::Peer(trouble)) if trouble.is_a_close() => {
                stream.retire();
                Err(End::Peer(trouble.blames(connection.blame())))
            }
            Err(End::Peer(trouble)) if trouble.failure == Failure::ConnectTimeout => {
                stream.retire();
                Err(End::Peer(Trouble::new(Failure::ReadTimeout, format!("no settings of HTTP/2 within {limit:?}"))))
            }
            Err(end) => Err(end),
        }
    }

    /// Waits for a connection that another request opens, or for its settings. Its failure is this one's too, but counts once.
    async fn wait_for(&mut self, opening: &Waiting, may_abandon: bool) -> Result<(), End> {
        self.within_connect_timeout(may_abandon, |cx| {
            opening.poll(cx).map(|ended| match ended {
                Ended::AskAgain => Ok(()),
                Ended::Failed(trouble) => Err(End::Peer(trouble.blames(false))),
            })
        })
        .await
    }

    /// Waits for something of a connection, unless the client leaves or the peer is found unreachable.
    async fn within_connect_timeout<T>(
        &mut self,
        may_abandon: bool,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, End>>,
    ) -> Result<T, End> {
        let proxy = self.rules().proxy;
        let Exchange { conn, s, .. } = self;
        conn.deadline.set(conn.worker.now(), proxy.connect_timeout);
        poll_fn(|cx| {
            if let Poll::Ready(ended) = poll(cx) {
                return Poll::Ready(ended);
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
