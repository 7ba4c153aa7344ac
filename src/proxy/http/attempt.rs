//! One try at one peer: a connection, the request, and the head of the answer.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use super::body::ClientEnd;
use super::connection::Connection;
use super::forwarded::{self, Told};
use super::headers;
use super::outcome::Trouble;
use super::request::Exchange;
use super::scratch::Scratch;
use super::side::Side;
use super::upload::{self, Stopped, Upload};
use crate::affinity::Tag;
use crate::clock::Timestamp;
use crate::config::model::{ClientLimits, HttpVersion, PathMatch, ProxySettings};
use crate::health::Outcome;
use crate::http1::{Limits, Progress, Version};
use crate::net::{Pooled, Reuse, Stream};
use crate::proxy::dial::{self, Content};
use crate::telemetry::Failure;
use crate::topology::{Group, Lease, Peer};

/// A connection to a peer in the hands of an attempt.
#[derive(Debug)]
pub struct PeerConn {
    /// The socket, or a stream of a shared one.
    pub stream: Side,
    /// Its history.
    pub reuse: Reuse,
    /// It was idle in the pool and has not said a byte since: the peer may have closed it long ago.
    pub untested: bool,
}

impl Pooled for PeerConn {
    fn stream(&mut self) -> Option<&mut Stream> {
        self.stream.stream()
    }

    fn reuse(&self) -> &Reuse {
        &self.reuse
    }
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

/// A request in the hands of one peer, and what came of it. In one place from its beginning, since most of it is handed from
/// step to step.
pub struct Transaction {
    /// Where the request goes, and the answer comes from.
    pub peer: Box<PeerConn>,
    /// What is left of the request.
    pub upload: Upload,
    /// When the head of the answer came; until then, when it was asked for.
    pub answered: Timestamp,
    /// The use of the peer, once it has answered. `None` again: it was ended when another peer was asked.
    pub lease: Option<Lease>,
    /// What the answer says of the peer.
    pub outcome: Outcome,
    /// Where it stands in `Scratch::attempts`.
    pub entry: usize,
    /// What stands for the peer in cookies; `None`: nobody is bound to it.
    pub tag: Option<Tag>,
}

impl Transaction {
    /// One that begins.
    pub fn new(peer: Box<PeerConn>, upload: Upload, now: Timestamp) -> Box<Transaction> {
        let (lease, outcome, entry, tag) = (None, Outcome::Neutral, 0, None);
        Box::write(Box::new_uninit(), Transaction { peer, upload, answered: now, lease, outcome, entry, tag })
    }
}

impl Exchange<'_> {
    /// Opens a connection to `peer` within `proxy_connect_timeout`: with a PROXY header at its front and TLS behind that,
    /// as its group wants it.
    pub async fn connect(&mut self, group: &Group, peer: &Peer, may_abandon: bool) -> Result<Box<PeerConn>, End> {
        let proxy = self.rules().proxy;
        let header = dial::header(group, self.story.address, &self.conn.client.local);
        let Exchange { conn, s, .. } = self;
        let began = conn.worker.now();
        conn.deadline.set(began, proxy.connect_timeout);
        let content = match proxy.http_version {
            HttpVersion::Http2 => Content::Http2,
            _ => Content::Http,
        };
        let mut connecting = pin!(dial::open(group, peer, header.as_deref(), content));
        poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                let reuse = Reuse {
                    opened: began,
                    requests: 0,
                    promised: None,
                    trust: group.config.tls.as_ref().map(|tls| tls.id()),
                };
                return Poll::Ready(match connected {
                    Ok(stream) => Ok(Box::new(PeerConn { stream: Side::Http1(stream), reuse, untested: false })),
                    Err(trouble) => Err(End::Peer(trouble)),
                });
            }
            if may_abandon && conn.seat.slot.is_connect_vain() {
                return Poll::Ready(Err(End::Peer(Trouble::abandoned())));
            }
            if conn.stream.has_left(cx, &mut s.client_in) {
                return Poll::Ready(Err(End::Left));
            }
            conn.deadline.poll(cx).map(|()| Err(End::Peer(Trouble::late(Failure::ConnectTimeout, proxy))))
        })
        .await
    }

    /// Writes the head for a peer of `group` into `Scratch::to_peer`.
    pub fn write_head(&mut self, group: &Group, http2: bool) {
        let Exchange { conn, s, story, route, body, .. } = self;
        let mut out = std::mem::take(&mut s.to_peer);
        out.clear();
        let sender = conn.client.remote.ip();
        let host = s.request.host().unwrap_or(route.location.proxy_host.as_bytes());
        let prefix = match (&route.location.replace, &route.location.path) {
            (Some(_), PathMatch::Prefix(prefix) | PathMatch::Exact(prefix)) => Some(prefix.as_str()),
            (None, _) => None,
        };
        let trusted = conn.worker.with(|topology| topology.config().trusted_proxies.trusts(conn.client.remote));
        let set = &route.location.proxy.set_header;
        // What does not depend on the request but by its Host.
        let is_usual = !trusted && set.is_empty() && prefix.is_none();
        let told = conn.told.as_ref().filter(|_| is_usual).and_then(|told| told.lines(host));
        let outbound = headers::Outbound {
            head: &s.request,
            target: &s.target,
            host,
            forwarded: forwarded::Facts {
                sender: sender.map(|ip| ip.to_canonical()),
                client: story.address.ip(),
                host,
                port: conn.client.local.port(),
                scheme: conn.client.security.scheme(),
                prefix,
            },
            told,
            trusted,
            framing: upload::outgoing(body, s),
            set,
            scope: &story.scope(conn, s, Some(route)),
            close: group.config.keepalive == 0,
            http2,
        };
        let lines = headers::write_request(&mut out, &outbound);
        // A client that asks once need not be remembered.
        if is_usual && told.is_none() && conn.requests > 1 {
            Told::remember(&mut conn.told, host, &out[lines]);
        }
        s.to_peer = out;
    }

    /// Sends the request and waits for the head of the answer, which is then in `Scratch::response`. What the client
    /// may see before that (1xx) is passed on. What the peer has said already is in `Scratch::peer_in`.
    pub async fn ask(&mut self, transaction: &mut Transaction, may_abandon: bool) -> Result<(), End> {
        let mut asking = Asking { may_abandon, begun: false, waits: Waits::Nobody, interims: 0, send_error: None };
        let end = poll_fn(|cx| asking.poll(cx, self, transaction)).await;
        self.conn.seat.slot.wait_for(None);
        end
    }
}

/// A peer that is being asked.
struct Asking {
    may_abandon: bool,
    begun: bool,
    waits: Waits,
    interims: u32,
    send_error: Option<io::Error>,
}

impl Asking {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        transaction: &mut Transaction,
    ) -> Poll<Result<(), End>> {
        // What is sent goes out after the others have thought about theirs.
        if !std::mem::replace(&mut self.begun, true) && exchange.conn.worker.crew.steps_aside(cx) {
            return Poll::Pending;
        }
        let rules = exchange.rules();
        let mut progress = false;
        if !transaction.upload.is_done() {
            self.send(cx, exchange, transaction, &mut progress)?;
        }
        if let Poll::Ready(end) = self.hear(cx, exchange, transaction, &mut progress) {
            return Poll::Ready(end);
        }
        let repeatable = exchange.is_repeatable();
        let Transaction { upload, .. } = transaction;
        let Exchange { conn, s, body, interim, .. } = exchange;
        let Connection { stream: client, deadline, seat, worker, .. } = &mut **conn;
        // Only what no byte was answered to, and may go elsewhere.
        let elsewhere = !upload.wrote() || (repeatable && body.replayable());
        if self.may_abandon && elsewhere && s.peer_in.is_empty() && !*interim && seat.slot.is_abandoned() {
            return Poll::Ready(Err(End::Peer(Trouble::abandoned())));
        }
        // Interim answers go out as they come.
        while !s.to_client.is_empty() {
            match client.poll_write(cx, &[io::IoSlice::new(&s.to_client)]) {
                Poll::Ready(Ok(n)) => drop(s.to_client.drain(..n)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Left)),
                Poll::Pending => break,
            }
        }
        let waits = Waits::of(upload);
        if waits != Waits::ClientBody && client.has_left(cx, &mut s.client_in) {
            let whole = waits == Waits::PeerAnswers;
            return Poll::Ready(Err(if whole { End::Left } else { End::Client(ClientEnd::Gone) }));
        }
        if progress || waits != self.waits {
            self.waits = waits;
            deadline.set(worker.now(), waits.limit(rules));
        }
        deadline.poll(cx).map(|()| Err(waits.expired(rules)))
    }

    /// Sends what goes of the request.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        transaction: &mut Transaction,
        progress: &mut bool,
    ) -> Result<(), End> {
        let Transaction { peer, upload, .. } = transaction;
        let Exchange { conn, s, body, .. } = exchange;
        match upload.poll(cx, &mut conn.stream, &mut peer.stream, s, body, progress) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Stopped::Client(end))) => Err(End::Client(end)),
            Poll::Ready(Err(Stopped::Peer(error))) => {
                // It may have answered before it closed: 413, say. The next read tells, but the kernel's
                // word that there is something to read may come later than the error of the write.
                upload.give_up();
                self.send_error = Some(error);
                Ok(())
            }
        }
    }

    /// Hears the head, after any number of interim ones.
    fn hear(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        transaction: &mut Transaction,
        progress: &mut bool,
    ) -> Poll<Result<(), End>> {
        let rules = exchange.rules();
        let limits = Limits { head: rules.proxy.max_response_head, ..Limits::default() };
        let Transaction { peer, answered, .. } = transaction;
        let Exchange { conn, s, interim, .. } = exchange;
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
                            *answered = conn.worker.now();
                            return Poll::Ready(Ok(()));
                        }
                        self.interims += 1;
                        if self.interims > MAX_INTERIM {
                            return Poll::Ready(Err(End::Peer(malformed(&TOO_MANY_INTERIM))));
                        }
                        // 100 was answered by weir itself, as soon as it wanted the body.
                        if s.request.version() >= Version::Http11 && s.response.status() != 100 {
                            headers::write_interim(&mut s.to_client, &s.response);
                            *interim = true;
                        }
                        s.response.clear();
                        *progress = true;
                        continue;
                    }
                }
            }
            match peer.stream.poll_fill(&mut s.peer_in, cx, limits.head.saturating_add(HEADROOM)) {
                Poll::Ready(Ok(1..)) => {
                    peer.untested = false;
                    *progress = true;
                }
                Poll::Ready(Ok(0)) => {
                    let failure = if self.send_error.is_some() { Failure::Send } else { Failure::Closed };
                    let words = match s.peer_in.is_empty() {
                        true => "closed the connection without an answer",
                        false => "closed the connection within the head of its answer",
                    };
                    return Poll::Ready(Err(End::Peer(Trouble::new(failure, words))));
                }
                Poll::Ready(Err(error)) => {
                    let trouble = match &self.send_error {
                        Some(error) => peer.stream.trouble(Failure::Send, error),
                        None => peer.stream.trouble(Failure::Closed, &error),
                    };
                    return Poll::Ready(Err(End::Peer(trouble)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Bytes that may be read beyond the largest head: so that one that is too large is seen to be so.
pub const HEADROOM: usize = 4;

/// Interim answers that one request may get.
pub const MAX_INTERIM: u32 = 16;
/// More are no answer.
pub const TOO_MANY_INTERIM: &str = "too many interim answers";

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
            (false, upload::Side::Client) => Waits::ClientBody,
            (false, upload::Side::Peer) => Waits::PeerTakes,
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

/// What is no answer of HTTP.
pub fn malformed(why: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(Failure::Malformed, format!("malformed answer: {why}"))
}
