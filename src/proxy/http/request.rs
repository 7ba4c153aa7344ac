//! What is done with a request? Route, body, attempts, answer, event.

use std::net::SocketAddr;
use std::sync::Arc;

use super::answer::{answer, write_all};
use super::attempt::Rules;
use super::attempts::Reached;
use super::body::{Body, gather};
use super::connection::{After, Connection};
use super::forwarded;
use super::reply::Reply;
use super::scratch::Scratch;
use super::story::Story;
use super::variables::host_alone;
use crate::clock::Timestamp;
use crate::config::model::PathMatch;
use crate::http1::{Form, Framing, Known, Method, Reject, RequestHead, target};
use crate::telemetry::Why;
use crate::topology::Route;

/// One request between its client and its peers: what its steps share. They are told in `attempts`, `choice`,
/// `attempt` and `deliver`.
pub struct Exchange<'a> {
    /// The client's side.
    pub conn: &'a mut Connection,
    /// Its memory.
    pub s: &'a mut Scratch,
    /// What will be told of it.
    pub story: &'a mut Story,
    /// Where it goes.
    pub route: &'a Arc<Route>,
    /// What the client sends.
    pub body: Body,
    /// The client has seen a byte of an interim answer (1xx).
    pub interim: bool,
}

/// Answers a head that is no request, and ends the connection.
pub async fn refuse(conn: &mut Connection, s: &mut Scratch, reject: &Reject, began: Timestamp) -> After {
    let text = reject.reason.as_str();
    tracing::debug!("refused a request of {}: {text}", conn.client.remote);
    refuse_with(conn, s, Reply::new(reject.status, text), began).await
}

/// Answers a client that did not send a whole head in time.
pub async fn refuse_late(conn: &mut Connection, s: &mut Scratch, began: Timestamp) -> After {
    refuse_with(conn, s, Reply::new(408, "the request's head did not come in time"), began).await
}

async fn refuse_with(conn: &mut Connection, s: &mut Scratch, reply: Reply, began: Timestamp) -> After {
    // What was parsed of a refused head is not to be trusted.
    s.request.clear();
    s.attempts.clear();
    let mut story = Story::new(began, conn.client.remote);
    let after = answer(conn, s, &mut story, reply, false).await;
    story.tell(conn, s, None);
    after
}

/// Serves the request whose head is in the scratch.
pub async fn serve(conn: &mut Connection, s: &mut Scratch, began: Timestamp) -> After {
    s.attempts.clear();
    s.gathered.clear();
    let mut story = Story::new(began, client_address(conn, &s.request));
    let (route, after) = match find_route(conn, s) {
        Ok(route) => {
            conn.keepalive_timeout = route.client.keepalive_timeout;
            let body = Body::new(s.request.framing(), route.client.max_body_size);
            let exchange = Exchange { conn, s, story: &mut story, route: &route, body, interim: false };
            let after = exchange.run().await;
            (Some(route), after)
        }
        Err(reply) => {
            let keep = reply.status == 404 && s.request.framing() == Framing::None && conn.may_keep(&s.request, None);
            (None, answer(conn, s, &mut story, reply, keep).await)
        }
    };
    story.tell(conn, s, route.as_deref());
    after
}

impl<'a> Exchange<'a> {
    async fn run(mut self) -> After {
        if let Framing::Length(length) = self.body.framing
            && !self.body.allows(length)
        {
            return self.answer(Reply::new(413, "the request's body exceeds client_max_body_size"), false).await;
        }
        self.s.body_in.begin(self.body.framing);
        let after = match self.receive().await {
            Reached::Answer(delivered) => self.deliver(delivered).await,
            Reached::Own(reply) => {
                let keep = self.body.complete && self.conn.may_keep(&self.s.request, Some(self.rules().client));
                self.answer(reply, keep).await
            }
            Reached::Client(end) => match end.reply() {
                Some(reply) => self.answer(reply, false).await,
                None => {
                    self.story.why = Some(Why::ClientGone);
                    After::Reset
                }
            },
        };
        self.story.body_received = self.body.received;
        after
    }

    /// Takes the body as far as it is gathered, and asks the peers.
    async fn receive(&mut self) -> Reached {
        let limits = self.rules().client;
        // Weir answers for itself: the body is wanted, whoever will get it.
        if self.s.request.expects_continue() && !self.body.complete && self.s.client_in.is_empty() {
            self.s.to_client.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            if let Err(end) = write_all(self.conn, self.s, limits.send_timeout).await {
                return Reached::Client(end);
            }
        }
        match gather(self.conn, self.s, &mut self.body, limits).await {
            Ok(()) => self.attempts().await,
            Err(end) => Reached::Client(end),
        }
    }

    /// What the waits of the request go by.
    pub fn rules(&self) -> Rules<'a> {
        Rules { proxy: &self.route.location.proxy, client: &self.route.client }
    }

    /// Sends an answer of weir's own.
    pub async fn answer(&mut self, reply: Reply, keep: bool) -> After {
        answer(self.conn, self.s, self.story, reply, keep).await
    }
}

/// The client's address after trusted proxies, whose ports nobody knows.
fn client_address(conn: &Connection, head: &RequestHead) -> SocketAddr {
    let sender = conn.client.remote;
    conn.worker.with(|topology| {
        let trusted = &topology.config().trusted_proxies;
        if trusted.is_empty() {
            return sender;
        }
        let fields = head.fields().filter(|field| field.known == Known::XForwardedFor).map(|field| field.value);
        let fields: Vec<&[u8]> = fields.collect();
        let ip = forwarded::client_address(sender.ip(), fields.into_iter(), trusted);
        if ip == sender.ip().to_canonical() { sender } else { SocketAddr::new(ip, 0) }
    })
}

fn find_route(conn: &Connection, s: &mut Scratch) -> Result<Arc<Route>, Reply> {
    match s.request.method_kind() {
        Method::Connect => return Err(Reply::new(405, "CONNECT is not for this server")),
        Method::Trace => return Err(Reply::new(405, "TRACE is not allowed")),
        _ => {}
    }
    if s.request.form() == Form::Asterisk || s.request.origin_form() == b"*" {
        s.path.clear();
        s.path.push(b'/');
    } else if target::normalize_into(s.request.path(), &mut s.path).is_err() {
        return Err(Reply::new(400, "malformed path"));
    }
    let host = s.request.host().map(host_alone).unwrap_or_default();
    let route = conn.worker.with(|topology| {
        let hosts = topology.listener(conn.client.listener).map(|listener| &listener.hosts);
        hosts.or(conn.client.hosts.as_ref())?.route(host, &s.path).cloned()
    });
    let route = route.ok_or(Reply::new(404, "no location matches this request"))?;
    find_target(&mut s.target, &s.request, &route).map_err(|_| Reply::new(400, "ambiguous path"))?;
    Ok(route)
}

/// What is asked of the peer: the target as it came, or with the location's prefix replaced.
fn find_target(out: &mut Vec<u8>, head: &RequestHead, route: &Route) -> Result<(), target::PathError> {
    out.clear();
    let Some(replacement) = &route.location.replace else {
        out.extend_from_slice(head.origin_form());
        return Ok(());
    };
    let (PathMatch::Prefix(prefix) | PathMatch::Exact(prefix)) = &route.location.path;
    target::replace_prefix(head.path(), prefix.as_bytes(), replacement.as_bytes(), out)?;
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    Ok(())
}
