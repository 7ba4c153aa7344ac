//! One try at one peer: a connection, the request, and the head of the answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};

use super::body::ClientEnd;
use super::connection::Connection;
use super::outcome::Trouble;
use super::request::Exchange;
use super::scratch::Scratch;
use super::upload::{self, Side, Stopped, Upload};
use super::{forwarded, headers};
use crate::clock::Timestamp;
use crate::config::model::{ClientLimits, PathMatch, ProxySettings};
use crate::http1::{Limits, Progress, Version};
use crate::net::{Buffer, Reuse, Stream};
use crate::telemetry::Failure;
use crate::topology::Group;

/// How many bytes a client may send ahead of its answer before it must wait.
const AHEAD: usize = 16 * 1024;

/// A connection to a peer in the hands of an attempt.
#[derive(Debug)]
pub struct PeerConn {
    /// The socket.
    pub stream: Stream,
    /// Its history.
    pub reuse: Reuse,
    /// It was idle in the pool and has not said a byte since: the peer may have closed it long ago.
    pub untested: bool,
}

/// How an attempt ended without a head.
#[derive(Debug)]
pub enum End {
    /// The client left while it waited for nothing but the answer.
    Left,
    /// The client did not send its body as it should.
    Client(ClientEnd),
    /// The peer's doing.
    Peer(Trouble),
}

/// What the waits of a request go by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Towards the peer.
    pub proxy: &'a ProxySettings,
    /// Towards the client.
    pub client: &'a ClientLimits,
}

/// What came with a head.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// When the head was whole.
    pub at: Timestamp,
}

/// Whether the client has left. Takes what it sends ahead, up to a bound.
pub fn client_left(cx: &mut Context<'_>, client: &mut Stream, ahead: &mut Buffer) -> bool {
    while ahead.has_room(AHEAD) && client.poll_readable(cx).is_ready() {
        match ahead.poll_fill(client, cx, AHEAD) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(Ok(0) | Err(_)) => return true,
            Poll::Pending => return false,
        }
    }
    false
}

impl Exchange<'_> {
    /// Opens a connection to `address` within `proxy_connect_timeout`.
    pub async fn connect(&mut self, address: SocketAddr, may_abandon: bool) -> Result<PeerConn, End> {
        let proxy = self.rules().proxy;
        let Exchange { conn, s, .. } = self;
        let began = conn.worker.now();
        conn.deadline.set(began, proxy.connect_timeout);
        let mut connecting = pin!(Stream::connect(address));
        poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                let reuse = Reuse { opened: began, requests: 0, promised: None };
                return Poll::Ready(match connected {
                    Ok(stream) => Ok(PeerConn { stream, reuse, untested: false }),
                    Err(error) => Err(End::Peer(Trouble::connect(&error))),
                });
            }
            if may_abandon && conn.seat.slot.is_abandoned() {
                return Poll::Ready(Err(End::Peer(abandoned())));
            }
            if client_left(cx, &mut conn.stream, &mut s.client_in) {
                return Poll::Ready(Err(End::Left));
            }
            conn.deadline.poll(cx).map(|()| Err(End::Peer(Trouble::late(Failure::ConnectTimeout, proxy))))
        })
        .await
    }

    /// Writes the head for a peer of `group` into `Scratch::to_peer`.
    pub fn write_head(&mut self, group: &Group) {
        let Exchange { conn, s, story, route, body, .. } = self;
        let mut out = std::mem::take(&mut s.to_peer);
        out.clear();
        let sender = conn.client.remote.ip();
        let host = s.request.host().unwrap_or(route.location.proxy_host.as_bytes());
        let prefix = match (&route.location.replace, &route.location.path) {
            (Some(_), PathMatch::Prefix(prefix) | PathMatch::Exact(prefix)) => Some(prefix.as_str()),
            (None, _) => None,
        };
        let outbound = headers::Outbound {
            head: &s.request,
            target: &s.target,
            host,
            forwarded: forwarded::Facts {
                sender: sender.to_canonical(),
                client: story.address.ip(),
                host,
                port: conn.client.local.port(),
                prefix,
            },
            trusted: conn.worker.with(|topology| forwarded::is_trusted(sender, &topology.config().trusted_proxies)),
            framing: upload::outgoing(body, s),
            set: &route.location.proxy.set_header,
            scope: &story.scope(conn, s, Some(route)),
            close: group.config.keepalive == 0,
        };
        headers::write_request(&mut out, &outbound);
        s.to_peer = out;
    }

    /// Sends the request and waits for the head of the answer, which is then in `Scratch::response`. What the client
    /// may see before that (1xx) is passed on.
    pub async fn ask(&mut self, peer: &mut PeerConn, upload: &mut Upload, may_abandon: bool) -> Result<Answered, End> {
        let rules = self.rules();
        let repeatable = self.is_repeatable();
        let limits = Limits { head: rules.proxy.max_response_head, ..Limits::default() };
        let Exchange { conn, s, body, interim, .. } = self;
        let Connection { stream: client, deadline, seat, worker, .. } = &mut **conn;
        s.response.clear();
        s.peer_in.clear();
        let mut waits = Waits::Nobody;
        let mut told = 0;
        let mut interims = 0;
        let mut send_error = None;
        let end = poll_fn(|cx| {
            let mut progress = false;
            if !upload.is_done() {
                match upload.poll(cx, client, &mut peer.stream, s, body, &mut progress) {
                    Poll::Pending | Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(Stopped::Client(end))) => return Poll::Ready(Err(End::Client(end))),
                    Poll::Ready(Err(Stopped::Peer(error))) => {
                        // It may have answered before it closed: 413, say. The next read tells, but the kernel's
                        // word that there is something to read may come later than the error of the write.
                        upload.give_up();
                        send_error = Some(error);
                    }
                }
            }
            // The head, after any number of interim ones.
            loop {
                if !s.peer_in.is_empty() {
                    match s.response.parse(s.peer_in.data(), &limits) {
                        Err(reject) => return Poll::Ready(Err(End::Peer(malformed(&reject)))),
                        Ok(Progress::Partial) => {}
                        Ok(Progress::Complete { consumed }) => {
                            s.peer_in.consume(consumed);
                            if !s.response.is_interim() {
                                if s.response.status() == 101 && !is_agreed(s) {
                                    return Poll::Ready(Err(End::Peer(malformed(&"it switches protocols unasked"))));
                                }
                                return Poll::Ready(Ok(Answered { at: worker.now() }));
                            }
                            interims += 1;
                            if interims > MAX_INTERIM {
                                return Poll::Ready(Err(End::Peer(malformed(&"too many interim answers"))));
                            }
                            // 100 was answered by weir itself, as soon as it wanted the body.
                            if s.request.version() == Version::Http11 && s.response.status() != 100 {
                                headers::write_interim(&mut s.to_client, &s.response);
                                *interim = true;
                            }
                            s.response.clear();
                            progress = true;
                            continue;
                        }
                    }
                }
                match s.peer_in.poll_fill(&mut peer.stream, cx, limits.head.saturating_add(HEADROOM)) {
                    Poll::Ready(Ok(1..)) => {
                        peer.untested = false;
                        progress = true;
                    }
                    Poll::Ready(Ok(0)) => {
                        let failure = if send_error.is_some() { Failure::Send } else { Failure::Closed };
                        let words = match s.peer_in.is_empty() {
                            true => "closed the connection without an answer",
                            false => "closed the connection within the head of its answer",
                        };
                        return Poll::Ready(Err(End::Peer(Trouble::new(failure, words))));
                    }
                    Poll::Ready(Err(error)) => {
                        let trouble = match &send_error {
                            Some(error) => Trouble::broken(Failure::Send, error),
                            None => Trouble::broken(Failure::Closed, &error),
                        };
                        return Poll::Ready(Err(End::Peer(trouble)));
                    }
                    Poll::Pending => break,
                }
            }
            // Only what no byte was answered to, and may go elsewhere.
            let elsewhere = !upload.wrote() || (repeatable && body.replayable());
            if may_abandon && elsewhere && s.peer_in.is_empty() && !*interim && seat.slot.is_abandoned() {
                return Poll::Ready(Err(End::Peer(abandoned())));
            }
            // Interim answers go out as they come.
            while told < s.to_client.len() {
                match client.poll_write_vectored(cx, &[std::io::IoSlice::new(&s.to_client[told..])]) {
                    Poll::Ready(Ok(n)) => told += n,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Left)),
                    Poll::Pending => break,
                }
            }
            if told == s.to_client.len() {
                told = 0;
                s.to_client.clear();
            }
            let now_waits = Waits::of(upload);
            if now_waits != Waits::ClientBody && client_left(cx, client, &mut s.client_in) {
                let whole = now_waits == Waits::PeerAnswers;
                return Poll::Ready(Err(if whole { End::Left } else { End::Client(ClientEnd::Gone) }));
            }
            if progress || now_waits != waits {
                waits = now_waits;
                deadline.set(worker.now(), waits.limit(rules));
            }
            deadline.poll(cx).map(|()| Err(waits.expired(rules)))
        })
        .await;
        s.to_client.drain(..told);
        seat.slot.wait_for(None);
        end
    }
}

/// Bytes that may be read beyond the largest head: so that one that is too large is seen to be so.
const HEADROOM: usize = 4;

/// Interim answers that one request may get.
const MAX_INTERIM: u32 = 16;

/// Whom an exchange waits for, which decides the time-out and whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nobody,
    ClientBody,
    PeerTakes,
    PeerAnswers,
}

impl Waits {
    fn of(upload: &Upload) -> Waits {
        match (upload.is_done(), upload.waits_for()) {
            (true, _) => Waits::PeerAnswers,
            (false, Side::Client) => Waits::ClientBody,
            (false, Side::Peer) => Waits::PeerTakes,
        }
    }

    fn limit(self, rules: Rules<'_>) -> std::time::Duration {
        match self {
            Waits::ClientBody => rules.client.body_timeout,
            Waits::PeerTakes => rules.proxy.send_timeout,
            Waits::PeerAnswers | Waits::Nobody => rules.proxy.read_timeout,
        }
    }

    fn expired(self, rules: Rules<'_>) -> End {
        match self {
            Waits::ClientBody => End::Client(ClientEnd::TimedOut),
            Waits::PeerTakes => End::Peer(Trouble::late(Failure::SendTimeout, rules.proxy)),
            Waits::PeerAnswers | Waits::Nobody => End::Peer(Trouble::late(Failure::ReadTimeout, rules.proxy)),
        }
    }
}

/// Whether a switch of protocols was asked for, and says to which. (To which of those asked for is between the two.)
fn is_agreed(s: &Scratch) -> bool {
    headers::upgrade(&s.request).is_some() && s.response.upgrade().is_some()
}

fn abandoned() -> Trouble {
    Trouble::new(Failure::Abandoned, "found unreachable by its health check meanwhile")
}

fn malformed(why: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(Failure::Malformed, format!("malformed answer: {why}"))
}
