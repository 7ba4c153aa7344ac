//! Who was asked, and what follows? One peer after the other, until there is an answer or no reason to go on.

use std::time::Duration;

use super::attempt::{End, PeerConn, Transaction};
use super::body::ClientEnd;
use super::choice::{Unleased, nobody_reply};
use super::grpc;
use super::hedge::Asked;
use super::outcome::{self, Trouble};
use super::reply::Reply;
use super::request::Exchange;
use super::scratch::Scratch;
use super::side::Side;
use super::story;
use super::upload::Upload;
use crate::clock::Timestamp;
use crate::config::model::HttpVersion;
use crate::health::Outcome;
use crate::http1::ResponseHead;
use crate::net::Buffer;
use crate::proxy::retry::{self, Attempted, Cause, Next};
use crate::telemetry::{self, Answer, Failure, Why};
use crate::topology::{Group, Lease, PeerTransition, Tried};

/// How a request has gone on at its peers.
pub enum Reached {
    /// An answer to pass on is in the scratch.
    Answer(Box<Transaction>),
    /// Nobody gave one.
    Own(Reply),
    /// The client ended it.
    Client(ClientEnd),
    /// A reload removed the group of its route before anybody was asked.
    Moved,
}

/// An answer that could be passed on if no better one comes.
struct Held {
    transaction: Box<Transaction>,
    response: ResponseHead,
    peer_in: Buffer,
}

/// What a request remembers between its attempts.
#[derive(Default)]
pub struct Course {
    /// Whom it has asked.
    pub tried: Tried,
    made: u32,
    /// How many of them may have reached an application.
    asked: u32,
    since: Option<Timestamp>,
    /// The last answer that was not good enough.
    held: Option<Box<Held>>,
    /// How the last attempt without an answer failed.
    pub failed: Option<Trouble>,
    /// When the attempt under way was charged to the budget.
    charged: Option<Timestamp>,
    /// Two peers were asked at once: that happens once.
    pub hedged: bool,
}

impl Exchange<'_> {
    /// Asks one peer after the other.
    pub async fn attempts(&mut self) -> Reached {
        let proxy = self.rules().proxy;
        let named = &proxy.next_upstream;
        let repeatable = self.is_repeatable();
        let mut course = Course::default();
        loop {
            let (group, mut lease) = match self.lease(&course.tried, repeatable).await {
                Ok(leased) => leased,
                Err(Unleased::Left) => return Reached::Client(ClientEnd::Gone),
                Err(Unleased::Late) => return Reached::Own(grpc::DEADLINE),
                Err(Unleased::Nobody(_)) if course.made == 0 && self.conn.worker.group(self.route.group).is_none() => {
                    return Reached::Moved;
                }
                Err(Unleased::Nobody(nobody)) => {
                    if let (Some(at), Some(group)) = (course.charged, self.conn.worker.group(self.route.group)) {
                        group.state.budget.refund(at);
                    }
                    if course.made > 0 {
                        self.story.why = Some(Why::NobodyElse);
                    }
                    self.s.attempts.push(story::no_peer(&self.route.group_name));
                    let own = course.failed.as_ref().map_or_else(|| nobody_reply(&nobody), Trouble::reply);
                    return settle(self.s, course.held, own);
                }
            };
            course.made += 1;
            course.since.get_or_insert(lease.began());
            // Given up only for the sake of another try.
            let tries = group.tries(proxy.next_upstream_tries);
            let may_abandon = named.error && course.made < tries.in_all && course.asked + 1 < tries.asked;
            let mut connected = None;
            let hedge = if proxy.hedge_after.is_none() || course.hedged { None } else { self.hedge_delay(&group) };
            let asked = match hedge {
                None => self.attempt(&group, &lease, may_abandon, &mut connected).await,
                Some(delay) => self.hedged(&mut course, &group, &mut lease, may_abandon, &mut connected, delay).await,
            };
            match asked {
                Ok(mut transaction) => {
                    let status = self.s.response.status();
                    lease.peer().tally.response(status);
                    let answered = transaction.answered;
                    // Of what went well only the access log wants to know.
                    transaction.entry = self.s.attempts.len();
                    if self.conn.worker.log.is_on() {
                        self.s.attempts.push(story::attempt(&lease, connected, Answer::Status(status), answered));
                    }
                    // A call that failed before it gave anything says so in its head.
                    let failed = if transaction.peer.stream.is_over() { grpc::status(&self.s.response) } else { None };
                    let (cause, outcome) = match failed {
                        Some(code) if named.grpc.contains(&code) => (Cause::Grpc(code), outcome::of_grpc(code)),
                        _ => (Cause::Status(status), outcome::of_status(status, named)),
                    };
                    transaction.outcome = outcome;
                    transaction.tag = lease.tag();
                    transaction.lease = Some(lease);
                    if !retry::names(named, cause) {
                        return Reached::Answer(transaction);
                    }
                    if let Err(why) = self.decide(&mut course, cause, true, &group, answered) {
                        self.story.why = Some(why);
                        return Reached::Answer(transaction);
                    }
                    course.held = Some(hold(self.s, transaction, &mut course.tried, answered));
                }
                Err((End::Left, _)) => {
                    let now = self.conn.worker.now();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                    report(lease.client_left(now));
                    return Reached::Client(ClientEnd::Gone);
                }
                Err(_) if self.conn.deadline.is_over(self.conn.worker.now()) => {
                    let now = self.conn.worker.now();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                    report(lease.client_left(now));
                    return Reached::Own(grpc::DEADLINE);
                }
                Err((End::Client(end), _)) => {
                    let now = self.conn.worker.now();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                    // Its body was late, cut or wrong: that the peer has not answered yet is no wonder.
                    report(lease.finish(Outcome::Neutral, now));
                    return Reached::Client(end);
                }
                Err((End::Peer(trouble), sent)) => {
                    let now = self.failed(&mut course, &group, lease, connected, &trouble);
                    if let Err(why) = self.decide(&mut course, trouble.cause(), sent, &group, now) {
                        self.story.why = Some(why);
                        return settle(self.s, course.held, trouble.reply());
                    }
                    course.failed = Some(trouble);
                }
            }
        }
    }

    /// An attempt failed at its peer, which hears of it. Returns when that was.
    pub fn failed(
        &mut self,
        course: &mut Course,
        group: &Group,
        lease: Lease,
        connected: Option<Duration>,
        trouble: &Trouble,
    ) -> Timestamp {
        let now = self.conn.worker.now();
        self.s.attempts.push(story::attempt(&lease, connected, Answer::Failed(trouble.failure), now));
        if is_of_connecting(trouble) {
            if let Some(at) = course.charged.take() {
                group.state.budget.refund(at);
            }
            if !trouble.local {
                self.conn.worker.connect_failed(lease.peer());
            }
        }
        report(lease.give_up(trouble.outcome(), &mut course.tried, now));
        now
    }

    /// Whether the request may be sent twice.
    pub fn is_repeatable(&self) -> bool {
        self.s.request.method_kind().is_idempotent() || self.rules().proxy.next_upstream.non_idempotent
    }

    /// Asks the retry policy and then the group's budget.
    fn decide(&self, course: &mut Course, cause: Cause, sent: bool, group: &Group, now: Timestamp) -> Result<(), Why> {
        let proxy = self.rules().proxy;
        course.asked += u32::from(retry::is_asked(cause, sent));
        let seen = Attempted {
            cause,
            sent,
            answered: self.interim,
            idempotent: self.s.request.method_kind().is_idempotent(),
            replayable: self.body.replayable(),
            attempts: course.made,
            asked: course.asked,
            elapsed: course.since.map_or(Duration::ZERO, |since| now.since(since)),
        };
        let tries = group.tries(proxy.next_upstream_tries);
        course.charged = None;
        match retry::after(&seen, &proxy.next_upstream, tries, proxy.next_upstream_timeout) {
            Next::TryAnother { charged: true } if !group.try_retry(now) => Err(Why::OutOfBudget),
            Next::TryAnother { charged } => {
                course.charged = charged.then_some(now);
                Ok(())
            }
            Next::GiveUp(why) => Err(why),
        }
    }

    /// Leases in hand, asks the peer: over an idle connection if there is one, else a new one. With an error comes
    /// whether a byte of the request may have reached the peer.
    pub async fn attempt(
        &mut self,
        group: &Group,
        lease: &Lease,
        may_abandon: bool,
        connected: &mut Option<Duration>,
    ) -> Asked {
        let peer = lease.peer();
        let repeatable = self.is_repeatable();
        let mut sent = false;
        let mut fresh = group.config.keepalive == 0;
        let mut refusals = 0;
        let trust = group.config.tls.as_ref().map(|connector| connector.id());
        loop {
            self.conn.seat.slot.wait_for(Some(peer.id));
            let http2 = self.rules().proxy.http_version == HttpVersion::Http2;
            let mut peer_conn;
            if let Some(idle) = self.take_idle(lease, fresh || http2, trust, !repeatable) {
                *connected = Some(Duration::ZERO);
                peer_conn = idle;
            } else {
                // Boxed, so that a request over an idle connection, as most are, is a small future.
                peer_conn = if http2 {
                    Box::pin(self.join(group, lease, may_abandon)).await
                } else {
                    Box::pin(self.connect(group, peer, may_abandon)).await
                }
                .map_err(|end| (end, sent))?;
                *connected = Some(self.conn.worker.now().since(lease.began()));
            }
            self.write_head(group, http2);
            let upload = Upload::new(self.s, &self.body, &mut peer_conn.stream);
            peer_conn.reuse.requests += 1;
            let mut transaction = Transaction::new(peer_conn, upload, lease.began());
            self.s.response.clear();
            self.s.peer_in.clear();
            self.conn.worker.crew.after_the_others().await;
            let Err(end) = self.ask(&mut transaction, may_abandon).await else { return Ok(transaction) };
            let Transaction { peer: conn, upload, .. } = &*transaction;
            if let (End::Peer(trouble), Side::Http2(stream)) = (&end, &conn.stream)
                && matches!(trouble.failure, Failure::ReadTimeout | Failure::SendTimeout)
            {
                // Whether the peer is slow or its connection dead is not known.
                stream.retire();
            }
            let refused = matches!(&end, End::Peer(trouble) if trouble.failure == Failure::Refused);
            sent |= upload.wrote() && !refused;
            match end {
                // Most likely it ends this connection, and takes the next.
                End::Peer(_) if refused && refusals < MOST_REFUSALS && self.body.replayable() => refusals += 1,
                End::Peer(trouble) if refused => return Err((End::Peer(trouble), upload.wrote())),
                // The peer closed an idle connection while the request was on its way: nobody's fault, and a new
                // connection tells. Only what may be sent twice is.
                End::Peer(trouble) if conn.untested && trouble.is_a_close() => {
                    if sent && !(repeatable && self.body.replayable()) {
                        return Err((End::Peer(Trouble { local: true, ..trouble }), sent));
                    }
                    fresh = true;
                }
                end => return Err((end, sent)),
            }
        }
    }

    /// An idle connection to the leased peer. `certain`: one that is known to be alive.
    fn take_idle(&self, lease: &Lease, fresh: bool, trust: Option<u64>, certain: bool) -> Option<PeerConn> {
        if fresh {
            return None;
        }
        let (stream, reuse) =
            self.conn.worker.pools.borrow_mut().take(lease.peer().id, trust, certain, lease.began())?;
        Some(PeerConn { stream: Side::Http1(stream), reuse, untested: true })
    }
}

/// Whether there was no connection, so that nothing was asked.
pub fn is_of_connecting(trouble: &Trouble) -> bool {
    matches!(trouble.failure, Failure::Connect | Failure::ConnectTimeout | Failure::Tls)
}

/// Times that a peer may refuse a request, within one attempt: connections end when they have served enough.
const MOST_REFUSALS: u32 = 1;

/// Puts an answer aside while somebody else is asked: if nobody gives another, it is the last true one.
fn hold(s: &mut Scratch, mut transaction: Box<Transaction>, tried: &mut Tried, now: Timestamp) -> Box<Held> {
    let outcome = std::mem::replace(&mut transaction.outcome, Outcome::Neutral);
    if outcome != Outcome::Success {
        transaction.tag = None;
    }
    if let Some(lease) = transaction.lease.take() {
        report(lease.give_up(outcome, tried, now));
    }
    // What it had not taken of the request goes to somebody else now.
    transaction.upload.give_up();
    Box::new(Held { transaction, response: std::mem::take(&mut s.response), peer_in: std::mem::take(&mut s.peer_in) })
}

/// Nobody is left to ask: the answer that was put aside, or one of weir's own.
fn settle(s: &mut Scratch, held: Option<Box<Held>>, own: Reply) -> Reached {
    match held {
        None => Reached::Own(own),
        Some(held) => {
            s.response = held.response;
            s.peer_in = held.peer_in;
            Reached::Answer(held.transaction)
        }
    }
}

/// Logs what a request's end has changed.
pub fn report(transition: Option<PeerTransition>) {
    if let Some(PeerTransition { peer, transition }) = transition {
        telemetry::transition::log(&peer.group.name, &peer.described(), &transition);
    }
}
