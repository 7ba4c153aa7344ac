//! What is done with a request? Route, body, attempts, answer, event.

use std::cell::OnceCell;
use std::sync::Arc;

use super::affinity::Hint;
use super::answer::{answer, write_all};
use super::attempt::Rules;
use super::attempts::Reached;
use super::body::{Body, ClientEnd, gather};
use super::choice::nobody_reply;
use super::connection::{After, Connection};
use super::fixed::answer_fixed;
use super::grpc;
use super::headers;
use super::limits::{self, Gate};
use super::reply::Reply;
use super::scratch::Scratch;
use super::story::Story;
use super::variables::host_alone;
use super::{apart, real_ip, redirect};
use crate::clock::Timestamp;
use crate::config::model::PathMatch;
use crate::endpoint::ClientAddr;
use crate::http1::{Form, Framing, Method, Reject, RequestHead, target};
use crate::telemetry::Why;
use crate::topology::{Nobody, Route};

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
    /// Keeps the route that it has instead since a reload removed the group of its first.
    pub moved: &'a OnceCell<Arc<Route>>,
    /// What the client sends.
    pub body: Body,
    /// The client has seen a byte of an interim answer (1xx).
    pub interim: bool,
    /// To whom it is bound, as it was last asked.
    pub hint: Hint,
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
    let known = conn.route.take();
    let route = match find_route(conn, s, &mut story, known) {
        Ok(route) => route,
        Err(unrouted) => return apart(|| turn_away(conn, s, story, unrouted)).await,
    };
    conn.keepalive_timeout = route.client.keepalive_timeout;
    if let Some(fixed) = &route.location.fixed {
        let keep = s.request.framing() == Framing::None && conn.may_keep(&s.request, Some(&route.client));
        let after = apart(|| answer_fixed(conn, s, &mut story, &route, fixed, keep)).await;
        story.tell(conn, s, Some(&route));
        return after;
    }
    // What is not done for most requests is boxed, so that one that waits for its answer is a small future.
    let gate = match route.gates.is_empty() {
        true => Gate::Open(Vec::new()),
        false => apart(|| limits::enter(conn, s, &mut story, &route)).await,
    };
    let held = match gate {
        Gate::Open(held) => held,
        Gate::Closed(reply) => {
            let keep = s.request.framing() == Framing::None && conn.may_keep(&s.request, Some(&route.client));
            let after = apart(|| answer(conn, s, &mut story, reply, keep)).await;
            story.tell(conn, s, Some(&route));
            return after;
        }
        Gate::Left => {
            story.why = Some(Why::ClientGone);
            story.tell(conn, s, Some(&route));
            return After::Reset;
        }
    };
    let route = choose_share(conn, s, &story, route);
    let mut body = Body::new(s.request.framing(), route.client.max_body_size);
    if conn.stream.is_http2() && grpc::is_call(&s.request) {
        body.live = route.client.body_buffer_size;
    }
    let hint = Hint::default();
    let moved = OnceCell::new();
    let mut exchange =
        Exchange { conn, s, story: &mut story, route: &route, moved: &moved, body, interim: false, hint };
    let mut after = exchange.run().await;
    match &mut after {
        // It goes on, and is told by the tunnel.
        After::Tunnel(tunnel) => tunnel.held = held,
        _ => story.tell(conn, s, Some(moved.get().unwrap_or(&route))),
    }
    conn.route = Some(route);
    after
}

/// Answers a request that has no route.
async fn turn_away(conn: &mut Connection, s: &mut Scratch, mut story: Story, unrouted: Unrouted) -> After {
    let after = match unrouted {
        Unrouted::Redirect { host, port } => {
            let keep = s.request.framing() == Framing::None && conn.may_keep(&s.request, None);
            redirect::answer(conn, s, &mut story, &host, port, keep).await
        }
        Unrouted::Reply(reply) => {
            let keep = reply.status == 404 && s.request.framing() == Framing::None && conn.may_keep(&s.request, None);
            answer(conn, s, &mut story, reply, keep).await
        }
    };
    story.tell(conn, s, None);
    after
}

impl<'a> Exchange<'a> {
    /// Gathers the body, asks the peers, and answers.
    pub async fn run(&mut self) -> After {
        self.s.body_in.begin(self.conn.stream.coding(self.body.framing));
        // Boxed, so that a request without a body, as most are, is a small future.
        let gathered = if self.body.complete { Ok(()) } else { apart(|| self.take_body()).await };
        let reached = match gathered {
            Ok(()) => {
                self.mirror();
                loop {
                    match self.attempts().await {
                        Reached::Moved => match self.reroute() {
                            Ok(()) => {}
                            Err(reply) => break Reached::Own(reply),
                        },
                        reached => break reached,
                    }
                }
            }
            Err(ClientEnd::TimedOut) if self.conn.deadline.is_over(self.conn.worker.now()) => {
                Reached::Own(grpc::DEADLINE)
            }
            Err(end) => Reached::Client(end),
        };
        let after = match reached {
            Reached::Answer(transaction) => self.deliver(transaction).await,
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
            Reached::Moved => After::Reset,
        };
        self.story.body_received = self.body.received;
        after
    }

    /// Takes the body as far as it is gathered.
    async fn take_body(&mut self) -> Result<(), ClientEnd> {
        if let Framing::Length(length) = self.body.framing
            && !self.body.allows(length)
        {
            return Err(ClientEnd::TooLarge);
        }
        let limits = self.rules().client;
        // Weir answers for itself: the body is wanted, whoever will get it.
        if self.s.request.expects_continue() && self.s.client_in.is_empty() {
            self.s.to_client.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            write_all(self.conn, self.s, limits.send_timeout).await?;
        }
        gather(self.conn, self.s, &mut self.body, limits).await
    }

    /// Finds the route once more, in the present snapshot. Its group is there: both were taken from one.
    fn reroute(&mut self) -> Result<(), Reply> {
        let nobody = || nobody_reply(&Nobody::no_group());
        // Twice would take two reloads within the moment that this takes.
        if self.moved.get().is_some() {
            return Err(nobody());
        }
        let route = match find_route(self.conn, self.s, self.story, None) {
            Ok(route) if route.location.fixed.is_none() => choose_share(self.conn, self.s, self.story, route),
            Err(Unrouted::Reply(reply)) => return Err(reply),
            Ok(_) | Err(Unrouted::Redirect { .. }) => return Err(nobody()),
        };
        self.route = self.moved.get_or_init(|| route);
        Ok(())
    }

    /// What the waits of the request go by.
    pub fn rules(&self) -> Rules<'a> {
        Rules { proxy: &self.route.location.proxy, client: &self.route.client }
    }

    /// Sends an answer of weir's own.
    pub async fn answer(&mut self, reply: Reply, keep: bool) -> After {
        apart(|| answer(self.conn, self.s, self.story, reply, keep)).await
    }
}

/// The client's address after trusted proxies, whose ports nobody knows.
fn client_address(conn: &Connection, head: &RequestHead) -> ClientAddr {
    let sender = conn.client.remote;
    conn.worker.with(|topology| {
        let trusted = &topology.config().trusted_proxies;
        if trusted.is_empty() {
            return sender;
        }
        let header = topology.config().real_ip_header;
        let Some(known) = real_ip::field(header) else { return sender };
        let lines = head.fields().filter(|field| field.known == known).map(|field| field.value);
        let lines: Vec<&[u8]> = lines.collect();
        real_ip::client_address(sender, header, &lines, trusted)
    })
}

/// Why a request has no route.
enum Unrouted {
    /// It is answered by weir itself.
    Reply(Reply),
    /// It is sent to another port, for TLS.
    Redirect { host: Vec<u8>, port: u16 },
}

impl From<Reply> for Unrouted {
    fn from(reply: Reply) -> Unrouted {
        Unrouted::Reply(reply)
    }
}

/// `known`: the route that is likely, which costs nothing to take again.
fn find_route(
    conn: &Connection,
    s: &mut Scratch,
    story: &mut Story,
    known: Option<Arc<Route>>,
) -> Result<Arc<Route>, Unrouted> {
    match s.request.method_kind() {
        Method::Connect => return Err(Reply::new(405, "CONNECT is not for this server").into()),
        Method::Trace => return Err(Reply::new(405, "TRACE is not allowed").into()),
        // An extended CONNECT can only be done, where an upgrade can also be left out.
        _ if headers::is_extended_connect(&s.request) && headers::upgrade(&s.request).is_none() => {
            return Err(Reply::new(501, "this protocol is not for a tunnel").into());
        }
        _ => {}
    }
    if s.request.form() == Form::Asterisk || s.request.origin_form() == b"*" {
        s.path.clear();
        s.path.push(b'/');
    } else if target::normalize_into(s.request.path(), &mut s.path).is_err() {
        return Err(Reply::new(400, "malformed path").into());
    }
    let host = s.request.host().map(host_alone).unwrap_or_default();
    let route = conn.worker.with(|topology| {
        let hosts = conn.client.spec(topology).map(|listener| &listener.hosts);
        let hosts = hosts.or(conn.client.hosts.as_ref())?;
        if let Some(refusal) = conn.client.security.refusal(hosts, host) {
            return Some(Err(refusal.into()));
        }
        let server = hosts.server(host);
        if server.hsts.is_some() && conn.client.security.facts().is_some() {
            story.hsts.clone_from(&server.hsts);
        }
        match server.redirect_to_https {
            Some(port) if !redirect::is_secure(conn, &s.request) => {
                let host = if host.is_empty() { server.name.as_bytes() } else { host };
                Some(Err(Unrouted::Redirect { host: host.to_vec(), port }))
            }
            _ => server.route(&s.path).map(|found| match known {
                Some(known) if Arc::ptr_eq(&known, found) => Ok(known),
                _ => Ok(Arc::clone(found)),
            }),
        }
    });
    let route = route.unwrap_or(Err(Reply::new(404, "no location matches this request").into()))?;
    find_target(&mut s.target, &s.request, &route).map_err(|_| Reply::new(400, "ambiguous path"))?;
    Ok(route)
}

/// The route itself, or that of the share which the request falls into.
fn choose_share(conn: &Connection, s: &mut Scratch, story: &Story, route: Arc<Route>) -> Arc<Route> {
    let Some(split) = &route.split else { return route };
    let share = match &split.key {
        None => split.shares.by_turn(),
        Some(template) => {
            let mut key = std::mem::take(&mut s.key);
            key.clear();
            story.scope(conn, s, Some(&route)).append(template, &mut key);
            let share = split.shares.by_key(&key);
            s.key = key;
            share
        }
    };
    share.and_then(|share| split.routes.get(share)).map_or_else(|| Arc::clone(&route), Arc::clone)
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
