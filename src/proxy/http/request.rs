//! The story of one request: route, body, attempts, answer, event.

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::attempt::{self, Answered, End, PeerConn, Rules, client_left};
use super::body::{Body, ClientEnd, gather};
use super::connection::{After, Connection};
use super::forwarded;
use super::headers::{self, Delivery};
use super::outcome::{self, Trouble};
use super::relay::{Cut, Relay};
use super::reply::Reply;
use super::scratch::Scratch;
use super::upload::{self, Upload};
use super::variables::{RequestId, Scope, host_alone, protocol, remote_user};
use crate::balancer::ip_hash_key;
use crate::clock::{self, Timestamp};
use crate::config::model::PathMatch;
use crate::health::Outcome;
use crate::http1::{Form, Framing, Known, Method, Reject, RequestHead, ResponseHead, target};
use crate::net::{self, Buffer};
use crate::proxy::retry::{self, Attempted, Next};
use crate::telemetry::{self, Answer, Attempt, Failure, NoVariables, RequestDone, Why};
use crate::topology::{Ask, Group, Lease, Nobody, PeerTransition, Refused, Route, Tried, acquire};

/// What is told of a request when it is over, gathered on its way.
struct Story {
    began: Timestamp,
    address: SocketAddr,
    id: RequestId,
    status: u16,
    sent: u64,
    body_sent: u64,
    body_received: u64,
    why: Option<Why>,
    queue_time: Option<Duration>,
}

impl Story {
    fn new(began: Timestamp, address: SocketAddr) -> Story {
        Story {
            began,
            address,
            id: RequestId::default(),
            status: 499,
            sent: 0,
            body_sent: 0,
            body_received: 0,
            why: None,
            queue_time: None,
        }
    }
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
    answer(conn, s, &mut story, reply, false).await;
    emit(conn, s, &story, None, "");
    After::Linger
}

/// Serves the request whose head is in the scratch.
pub async fn serve(conn: &mut Connection, s: &mut Scratch, began: Timestamp) -> After {
    s.attempts.clear();
    s.gathered.clear();
    let mut story = Story::new(began, client_address(conn, &s.request));
    let (route, after) = match find_route(conn, s) {
        Ok(route) => {
            let after = proxy(conn, s, &mut story, &route).await;
            (Some(route), after)
        }
        Err(reply) => {
            let keep = reply.status == 404 && s.request.framing() == Framing::None && conn.may_keep(&s.request, None);
            (None, answer(conn, s, &mut story, reply, keep).await)
        }
    };
    emit(conn, s, &story, route.as_deref(), route.as_ref().map_or("", |route| &route.location.proxy_host));
    after
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
        let listener = topology.listener(conn.client.listener)?;
        listener.hosts.route(host, &s.path).cloned()
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

/// How a request has gone on at its peers.
enum Reached {
    /// An answer to pass on is in the scratch.
    Answer(Box<Delivered>),
    /// Nobody gave one.
    Own(Reply),
    /// The client ended it.
    Client(ClientEnd),
}

/// An answer whose head has come, with the use of its peer.
struct Delivered {
    peer: PeerConn,
    upload: Upload,
    lease: Option<Lease>,
    outcome: Outcome,
    answered: Answered,
    /// Where it stands in `Scratch::attempts`.
    entry: usize,
}

/// An answer that could be passed on if no better one comes.
struct Held {
    delivered: Box<Delivered>,
    response: ResponseHead,
    peer_in: Buffer,
}

async fn proxy(conn: &mut Connection, s: &mut Scratch, story: &mut Story, route: &Arc<Route>) -> After {
    let rules = Rules { proxy: &route.location.proxy, client: &route.client };
    let framing = s.request.framing();
    let limit = route.client.max_body_size;
    if let Framing::Length(n) = framing
        && limit > 0
        && n > limit
    {
        let reply = Reply::new(413, "the request's body exceeds client_max_body_size");
        return answer(conn, s, story, reply, false).await;
    }
    let mut body = Body::new(framing, limit);
    s.body_in.begin(framing);
    if s.request.expects_continue() && !body.complete && s.client_in.is_empty() {
        s.to_client.clear();
        s.to_client.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        if write_all(conn, s, route.client.send_timeout).await.is_err() {
            return After::Close;
        }
    }
    let gathered = gather(conn, s, &mut body, &route.client).await;
    let mut interim = false;
    let reached = match gathered {
        Ok(()) => attempts(conn, s, story, &mut body, route, rules, &mut interim).await,
        Err(end) => Reached::Client(end),
    };
    let after = match reached {
        Reached::Answer(delivered) => deliver(conn, s, story, &mut body, route, *delivered, interim).await,
        Reached::Own(reply) => {
            let keep = conn.may_keep(&s.request, Some(&route.client)) && body.complete;
            answer(conn, s, story, reply, keep).await
        }
        Reached::Client(end) => match end.reply() {
            Some(reply) if !interim => answer(conn, s, story, reply, false).await,
            _ => After::Close,
        },
    };
    story.body_received = body.received;
    after
}

/// Asks one peer after the other until there is an answer or no reason to go on.
async fn attempts(
    conn: &mut Connection,
    s: &mut Scratch,
    story: &mut Story,
    body: &mut Body,
    route: &Arc<Route>,
    rules: Rules<'_>,
    interim: &mut bool,
) -> Reached {
    let mut tried = Tried::new();
    let mut held: Option<Held> = None;
    let mut failed: Option<Trouble> = None;
    let method = s.request.method_kind();
    let named = &rules.proxy.next_upstream;
    let mut first_began = None;
    let mut made = 0;
    let repeatable = method.is_idempotent() || named.non_idempotent;
    loop {
        let (group, lease) = match lease(conn, s, story, route, &tried, repeatable).await {
            Ok(leased) => leased,
            Err(Unleased::Left) => return Reached::Client(ClientEnd::Gone),
            Err(Unleased::Nobody(group, nobody)) => {
                if made > 0 {
                    story.why = Some(Why::NobodyElse);
                }
                let own = failed.map_or_else(|| nobody_reply(&nobody), |trouble| trouble.reply());
                s.attempts.push(no_peer(&group));
                return settle(s, held, own);
            }
        };
        made += 1;
        let began = lease.began();
        let since = *first_began.get_or_insert(began);
        let mut timing = Timing::default();
        let trouble = match attempt_at(conn, s, &lease, body, route, rules, &group, story, interim, &mut timing).await {
            Ok((peer, upload, answered)) => {
                let outcome = outcome::of_status(s.response.status(), named);
                let status = s.response.status();
                lease.peer().tally.response(status);
                s.attempts.push(timing.told(&lease, Answer::Status(status), answered.at));
                let entry = s.attempts.len() - 1;
                let delivered = Box::new(Delivered { peer, upload, lease: Some(lease), outcome, answered, entry });
                let seen = Attempted {
                    cause: retry::Cause::Status(status),
                    sent: true,
                    answered: *interim,
                    idempotent: method.is_idempotent(),
                    replayable: body.replayable(),
                    attempts: made,
                    elapsed: answered.at.since(since),
                };
                if !retry::names(named, seen.cause) {
                    return Reached::Answer(delivered);
                }
                match decide(&seen, rules, &group, answered.at) {
                    Ok(()) => {
                        held = Some(hold(s, delivered, &mut tried, answered.at));
                        continue;
                    }
                    Err(why) => {
                        story.why = Some(why);
                        return Reached::Answer(delivered);
                    }
                }
            }
            Err((End::Client(end), _)) => {
                let now = conn.worker.clock.now();
                s.attempts.push(timing.told(&lease, Answer::None, now));
                report(lease.client_left(now));
                story.why = Some(Why::ClientGone);
                return Reached::Client(end);
            }
            Err((End::Peer(trouble), sent)) => {
                let now = conn.worker.clock.now();
                s.attempts.push(timing.told(&lease, Answer::Failed(trouble.failure), now));
                if trouble.failure == Failure::Connect || trouble.failure == Failure::ConnectTimeout {
                    conn.worker.connect_failed(lease.peer());
                }
                report(lease.give_up(trouble.outcome(), &mut tried, now));
                let seen = Attempted {
                    cause: trouble.cause(),
                    sent,
                    answered: *interim,
                    idempotent: method.is_idempotent(),
                    replayable: body.replayable(),
                    attempts: made,
                    elapsed: now.since(since),
                };
                match decide(&seen, rules, &group, now) {
                    Ok(()) => trouble,
                    Err(why) => {
                        story.why = Some(why);
                        return settle(s, held, trouble.reply());
                    }
                }
            }
        };
        failed = Some(trouble);
    }
}

/// Asks the retry policy and then the group's budget.
fn decide(seen: &Attempted, rules: Rules<'_>, group: &Group, now: Timestamp) -> Result<(), Why> {
    let proxy = rules.proxy;
    let tries = group.attempts(proxy.next_upstream_tries);
    match retry::after(seen, &proxy.next_upstream, tries, proxy.next_upstream_timeout) {
        Next::TryAnother { charged } if charged && !group.try_retry(now) => Err(Why::OutOfBudget),
        Next::TryAnother { .. } => Ok(()),
        Next::GiveUp(why) => Err(why),
    }
}

/// Puts an answer aside while somebody else is asked: if nobody gives another, it is the last true one.
fn hold(s: &mut Scratch, mut delivered: Box<Delivered>, tried: &mut Tried, now: Timestamp) -> Held {
    let outcome = std::mem::replace(&mut delivered.outcome, Outcome::Neutral);
    if let Some(lease) = delivered.lease.take() {
        report(lease.give_up(outcome, tried, now));
    }
    Held { delivered, response: std::mem::take(&mut s.response), peer_in: std::mem::take(&mut s.peer_in) }
}

/// Nobody is left to ask: the answer that was put aside, or one of weir's own.
fn settle(s: &mut Scratch, held: Option<Held>, own: Reply) -> Reached {
    match held {
        None => Reached::Own(own),
        Some(held) => {
            s.response = held.response;
            s.peer_in = held.peer_in;
            Reached::Answer(held.delivered)
        }
    }
}

enum Unleased {
    Left,
    Nobody(Arc<str>, Nobody),
}

/// A peer for the next attempt, from the present snapshot. Waits where the group's rules say so.
async fn lease(
    conn: &mut Connection,
    s: &mut Scratch,
    story: &mut Story,
    route: &Arc<Route>,
    tried: &Tried,
    repeatable: bool,
) -> Result<(Arc<Group>, Lease), Unleased> {
    let now = conn.worker.clock.now();
    let nobody = |nobody| Unleased::Nobody(Arc::clone(&route.group_name), nobody);
    let Some(group) = conn.worker.group(route.group) else {
        return Err(nobody(Nobody::no_group()));
    };
    let mut key = std::mem::take(&mut s.key);
    key.clear();
    key_of(&group, &scope(conn, s, story, route), &mut key);
    let ask = Ask { key: &key, repeatable, tried };
    let leased = match group.try_lease(&ask, now) {
        Ok(lease) => Ok((group, lease)),
        Err(Refused::Nobody(why)) => Err(nobody(why)),
        Err(Refused::Wait(_)) => {
            drop(group);
            let worker = conn.worker.clone();
            let current = || worker.group(route.group);
            let mut waiting = pin!(acquire(current, &ask, &worker.clock));
            let won = poll_fn(|cx| match waiting.as_mut().poll(cx) {
                Poll::Ready(won) => Poll::Ready(Some(won)),
                Poll::Pending if client_left(cx, &mut conn.stream, &mut s.client_in) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await;
            story.queue_time = Some(worker.clock.now().since(now));
            match (won, worker.group(route.group)) {
                (None, _) => Err(Unleased::Left),
                (Some(Ok(lease)), Some(group)) => Ok((group, lease)),
                (Some(Ok(_)), None) => Err(nobody(Nobody::no_group())),
                (Some(Err(why)), _) => Err(nobody(why)),
            }
        }
    };
    s.key = key;
    leased
}

fn key_of(group: &Group, scope: &Scope<'_>, key: &mut Vec<u8>) {
    match (&group.config.method, &group.config.key) {
        (crate::balancer::Method::IpHash, _) => key.extend_from_slice(&ip_hash_key(scope.address.ip())),
        (_, Some(template)) => scope.append(template, key),
        (_, None) => {}
    }
}

fn scope<'a>(conn: &'a Connection, s: &'a Scratch, story: &'a Story, route: &'a Route) -> Scope<'a> {
    Scope {
        head: &s.request,
        client: &conn.client,
        address: story.address,
        path: &s.path,
        server_name: &route.server_name,
        proxy_host: &route.location.proxy_host,
        request_id: &story.id,
    }
}

/// The times of one attempt.
#[derive(Default)]
struct Timing {
    connect: Option<Duration>,
}

impl Timing {
    fn told(&self, lease: &Lease, answer: Answer, now: Timestamp) -> Attempt {
        let took = now.since(lease.began());
        Attempt {
            peer: Arc::clone(&lease.peer().text),
            addr: Some(lease.peer().addr),
            answer,
            connect_time: self.connect,
            header_time: matches!(answer, Answer::Status(_)).then_some(took),
            response_time: took,
        }
    }
}

fn no_peer(group: &Arc<str>) -> Attempt {
    Attempt {
        peer: Arc::clone(group),
        addr: None,
        answer: Answer::Failed(Failure::NoPeer),
        connect_time: None,
        header_time: None,
        response_time: Duration::ZERO,
    }
}

/// Leases in hand, asks the peer: over an idle connection if there is one, else a new one. With an error comes whether
/// a byte of the request may have reached the peer.
#[expect(clippy::too_many_arguments, reason = "the whole of a request meets the whole of a peer here")]
async fn attempt_at(
    conn: &mut Connection,
    s: &mut Scratch,
    lease: &Lease,
    body: &mut Body,
    route: &Route,
    rules: Rules<'_>,
    group: &Group,
    story: &Story,
    interim: &mut bool,
    timing: &mut Timing,
) -> Result<(PeerConn, Upload, Answered), (End, bool)> {
    let peer = lease.peer();
    let idempotent = s.request.method_kind().is_idempotent() || rules.proxy.next_upstream.non_idempotent;
    conn.seat.slot.wait_for(Some(peer.id));
    let mut sent_before = false;
    loop {
        let pooled = if group.config.keepalive > 0 && !sent_before {
            conn.worker.pools.borrow_mut().take(peer.id, !idempotent, lease.began())
        } else {
            None
        };
        let mut peer_conn = match pooled {
            Some((stream, reuse)) => {
                timing.connect = Some(Duration::ZERO);
                PeerConn { stream, reuse, pooled: true }
            }
            None => {
                let opened = attempt::connect(conn, s, peer.addr, rules.proxy).await;
                let opened = opened.map_err(|end| (end, sent_before))?;
                timing.connect = Some(conn.worker.clock.now().since(lease.began()));
                opened
            }
        };
        write_head(conn, s, body, route, group, story);
        let mut upload = Upload::new(s, body);
        peer_conn.reuse.requests += 1;
        let end = match attempt::exchange(conn, s, &mut peer_conn, &mut upload, body, rules, interim).await {
            Ok(answered) => return Ok((peer_conn, upload, answered)),
            Err(end) => end,
        };
        let sent = sent_before || upload.wrote();
        match end {
            // The peer closed an idle connection while the request was on its way: nobody's fault, and a new
            // connection tells. Only what may be sent twice is.
            End::Peer(trouble) if peer_conn.pooled && is_stale(&trouble, s) && !*interim => {
                if sent && !(idempotent && body.replayable()) {
                    return Err((End::Peer(Trouble { local: true, ..trouble }), sent));
                }
                sent_before = true;
            }
            end => return Err((end, sent)),
        }
    }
}

fn is_stale(trouble: &Trouble, s: &Scratch) -> bool {
    matches!(trouble.failure, Failure::Send | Failure::Closed) && s.peer_in.is_empty()
}

fn write_head(conn: &Connection, s: &mut Scratch, body: &Body, route: &Route, group: &Group, story: &Story) {
    let mut out = std::mem::take(&mut s.to_peer);
    out.clear();
    let scope = scope(conn, s, story, route);
    let trusted =
        conn.worker.with(|topology| forwarded::is_trusted(conn.client.remote.ip(), &topology.config().trusted_proxies));
    let host = s.request.host().unwrap_or(route.location.proxy_host.as_bytes());
    let prefix = match (&route.location.replace, &route.location.path) {
        (Some(_), PathMatch::Prefix(prefix) | PathMatch::Exact(prefix)) => Some(prefix.as_str()),
        (None, _) => None,
    };
    let facts = forwarded::Facts {
        sender: conn.client.remote.ip().to_canonical(),
        client: story.address.ip(),
        host,
        port: conn.client.local.port(),
        prefix,
    };
    let outbound = headers::Outbound {
        head: &s.request,
        target: &s.target,
        host,
        forwarded: facts,
        trusted,
        framing: upload::outgoing(body, s),
        set: &route.location.proxy.set_header,
        scope: &scope,
        close: group.config.keepalive == 0,
    };
    headers::write_request(&mut out, &outbound);
    s.to_peer = out;
}

/// Passes on the answer whose head is in the scratch.
async fn deliver(
    conn: &mut Connection,
    s: &mut Scratch,
    story: &mut Story,
    body: &mut Body,
    route: &Route,
    mut d: Delivered,
    interim: bool,
) -> After {
    let rules = Rules { proxy: &route.location.proxy, client: &route.client };
    let version = s.request.version();
    let framing = s.response.framing(s.request.method_kind());
    s.body_out.begin(framing);
    let delivery = headers::delivery(framing, version);
    let keep = body.complete && delivery != Delivery::UntilClose && conn.may_keep(&s.request, Some(rules.client));
    let mut out = std::mem::take(&mut s.to_client);
    let inbound = headers::Inbound {
        head: &s.response,
        delivery,
        client: version,
        keep_alive: keep,
        hide: &route.location.proxy.hide_header,
        add: &route.location.add_header,
        scope: &scope(conn, s, story, route),
    };
    headers::write_response(&mut out, &inbound);
    s.to_client = out;
    story.status = s.response.status();
    if let (Some(lease), Outcome::Success) = (&mut d.lease, &d.outcome) {
        lease.head_received(d.answered.at);
    }
    let mut relay = Relay::new(delivery);
    let streamed = relay.stream(conn, s, &mut d.peer, &mut d.upload, body, rules).await;
    let now = conn.worker.clock.now();
    if let Some(attempt) = s.attempts.get_mut(d.entry) {
        attempt.response_time += now.since(d.answered.at);
    }
    let after = match streamed {
        Ok(()) => {
            let (peer, reusable) = (d.peer, d.upload.is_whole() && s.body_out.is_done() && relay.took_all(s));
            if let Some(lease) = d.lease.take() {
                if reusable && framing != Framing::UntilClose && s.response.keep_alive() {
                    put_back(conn, &lease, peer, s.response.keep_alive_timeout(), now);
                }
                report(lease.finish(d.outcome, now));
            }
            match relay.flush(conn, s, rules).await {
                Ok(()) if keep => After::KeepAlive,
                Ok(()) if !body.complete => After::Linger,
                Ok(()) => After::Close,
                Err(_) => After::Reset,
            }
        }
        Err(Cut::Client(_)) => {
            if let Some(lease) = d.lease.take() {
                match d.outcome {
                    Outcome::Success => report(lease.client_left(now)),
                    failure => report(lease.finish(failure, now)),
                }
            }
            story.why = Some(Why::ClientGone);
            After::Reset
        }
        Err(Cut::Peer(trouble)) => {
            if let Some(attempt) = s.attempts.get_mut(d.entry) {
                attempt.answer = Answer::Cut(s.response.status());
            }
            if let Some(lease) = d.lease.take() {
                report(lease.finish(trouble.outcome(), now));
            }
            if relay.sent == 0 && !interim {
                // The client has seen nothing of it, so it can still be told the truth.
                return answer(conn, s, story, trouble.reply(), false).await;
            }
            story.why = Some(Why::AnswerBegun);
            After::Reset
        }
    };
    story.sent = relay.sent;
    story.body_sent = relay.body;
    after
}

fn put_back(conn: &Connection, lease: &Lease, mut peer: PeerConn, promised: Option<Duration>, now: Timestamp) {
    let limits = conn.worker.group(lease.group().id).map(|group| net::Limits {
        idle: group.config.keepalive,
        idle_time: group.config.keepalive_timeout,
        requests: group.config.keepalive_requests,
        age: group.config.keepalive_time,
    });
    if let Some(limits) = limits {
        peer.reuse.promised = promised.or(peer.reuse.promised);
        conn.worker.pools.borrow_mut().put(lease.peer().id, peer.stream, peer.reuse, &limits, now);
    }
}

/// Sends an answer of weir's own.
async fn answer(conn: &mut Connection, s: &mut Scratch, story: &mut Story, reply: Reply, keep: bool) -> After {
    let bare = s.request.method_kind() == Method::Head;
    s.to_client.clear();
    story.status = reply.status;
    story.body_sent = reply.write(&mut s.to_client, s.request.version(), keep, bare);
    story.sent = s.to_client.len() as u64;
    match write_all(conn, s, ANSWER_TIME).await {
        Ok(()) if keep => After::KeepAlive,
        Ok(()) => After::Linger,
        Err(_) => After::Close,
    }
}

/// How long a client may take to read an answer of weir's own.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Writes what is in `Scratch::to_client`.
async fn write_all(conn: &mut Connection, s: &mut Scratch, limit: Duration) -> Result<(), ClientEnd> {
    conn.deadline.set(conn.worker.clock.now(), limit);
    let mut at = 0;
    let end = poll_fn(|cx| {
        while at < s.to_client.len() {
            match conn.stream.poll_write_vectored(cx, &[IoSlice::new(&s.to_client[at..])]) {
                Poll::Ready(Ok(n)) => at += n,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ClientEnd::Gone)),
                Poll::Pending => return conn.deadline.poll(cx).map(|()| Err(ClientEnd::TimedOut)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await;
    s.to_client.clear();
    end
}

fn nobody_reply(nobody: &Nobody) -> Reply {
    use crate::topology::Why;
    let text = match nobody.why {
        Why::NoPeers => "no upstream server is known yet",
        Why::Full | Why::QueueFull | Why::QueueTimeout => "all upstream servers are busy",
        Why::Unavailable | Why::AllTried => "no upstream server is available",
    };
    Reply { retry_after: Some(Duration::from_secs(nobody.retry_after)), ..Reply::new(503, text) }
}

/// Logs what a request's end has changed.
fn report(transition: Option<PeerTransition>) {
    if let Some(PeerTransition { peer, transition }) = transition {
        telemetry::transition::log(&peer.group.name, &peer.text, &transition);
    }
}

/// Tells that the request is over.
fn emit(conn: &Connection, s: &Scratch, story: &Story, route: Option<&Route>, proxy_host: &str) {
    let log = &conn.worker.log;
    if !log.is_on() {
        return;
    }
    let head = &s.request;
    let known = !head.method().is_empty();
    let user = if known { remote_user(head) } else { None };
    let scope = Scope {
        head,
        client: &conn.client,
        address: story.address,
        path: &s.path,
        server_name: route.map_or("", |route| &route.server_name),
        proxy_host,
        request_id: &story.id,
    };
    let field = |known| head.field(known).unwrap_or_default();
    log.write(&RequestDone {
        at: clock::wall(),
        connection: conn.client.serial,
        client: story.address,
        remote_user: user.as_deref().unwrap_or_default(),
        method: head.method(),
        target: head.target(),
        protocol: if known { protocol(head) } else { "" },
        host: head.host().map(host_alone).unwrap_or_default(),
        referer: field(Known::Referer),
        user_agent: field(Known::UserAgent),
        request_id: story.id.made().unwrap_or_default(),
        status: story.status,
        request_length: head.wire_len() as u64 + story.body_received,
        bytes_sent: story.sent,
        body_bytes_sent: story.body_sent,
        request_time: conn.worker.clock.now().since(story.began),
        queue_time: story.queue_time,
        group: route.map(|route| &*route.group_name),
        attempts: &s.attempts,
        why: story.why,
        variables: if known { &scope } else { &NoVariables },
    });
}
