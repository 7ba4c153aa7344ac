//! Who was asked, and what follows? One peer after the other, until there is an answer or no reason to go on.

use std::time::Duration;

use super::attempt::{Answered, End, PeerConn};
use super::body::ClientEnd;
use super::choice::{Unleased, nobody_reply};
use super::outcome::{self, Trouble};
use super::reply::Reply;
use super::request::Exchange;
use super::scratch::Scratch;
use super::story;
use super::upload::Upload;
use crate::clock::Timestamp;
use crate::health::Outcome;
use crate::http1::ResponseHead;
use crate::net::Buffer;
use crate::proxy::retry::{self, Attempted, Cause, Next};
use crate::telemetry::{self, Answer, Failure, Why};
use crate::topology::{Group, Lease, PeerTransition, Tried};

/// How a request has gone on at its peers.
pub enum Reached {
    /// An answer to pass on is in the scratch.
    Answer(Delivered),
    /// Nobody gave one.
    Own(Reply),
    /// The client ended it.
    Client(ClientEnd),
}

/// An answer whose head has come, with the use of its peer.
pub struct Delivered {
    /// Where the rest of it comes from.
    pub peer: PeerConn,
    /// What is left of the request.
    pub upload: Upload,
    /// `None`: it was ended when another peer was asked.
    pub lease: Option<Lease>,
    /// What the answer says of the peer.
    pub outcome: Outcome,
    /// When the head came.
    pub answered: Answered,
    /// Where it stands in `Scratch::attempts`.
    pub entry: usize,
}

/// An answer that could be passed on if no better one comes.
struct Held {
    delivered: Delivered,
    response: ResponseHead,
    peer_in: Buffer,
}

/// What a request remembers between its attempts.
#[derive(Default)]
struct Course {
    tried: Tried,
    made: u32,
    since: Option<Timestamp>,
    /// The last answer that was not good enough.
    held: Option<Held>,
    /// How the last attempt without an answer failed.
    failed: Option<Trouble>,
    /// When the attempt under way was charged to the budget.
    charged: Option<Timestamp>,
}

impl Exchange<'_> {
    /// Asks one peer after the other.
    pub async fn attempts(&mut self) -> Reached {
        let named = &self.rules().proxy.next_upstream;
        let repeatable = self.is_repeatable();
        let mut course = Course::default();
        loop {
            let (group, lease) = match self.lease(&course.tried, repeatable).await {
                Ok(leased) => leased,
                Err(Unleased::Left) => return Reached::Client(ClientEnd::Gone),
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
            let may_abandon = named.error && course.made < group.attempts(self.rules().proxy.next_upstream_tries);
            let mut connected = None;
            match self.attempt(&group, &lease, may_abandon, &mut connected).await {
                Ok((peer, upload, answered)) => {
                    let status = self.s.response.status();
                    lease.peer().tally.response(status);
                    let entry = self.s.attempts.len();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::Status(status), answered.at));
                    let outcome = outcome::of_status(status, named);
                    let delivered = Delivered { peer, upload, lease: Some(lease), outcome, answered, entry };
                    let cause = Cause::Status(status);
                    if !retry::names(named, cause) {
                        return Reached::Answer(delivered);
                    }
                    if let Err(why) = self.decide(&mut course, cause, true, &group, answered.at) {
                        self.story.why = Some(why);
                        return Reached::Answer(delivered);
                    }
                    course.held = Some(hold(self.s, delivered, &mut course.tried, answered.at));
                }
                Err((End::Left, _)) => {
                    let now = self.conn.worker.now();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                    report(lease.client_left(now));
                    return Reached::Client(ClientEnd::Gone);
                }
                Err((End::Client(end), _)) => {
                    let now = self.conn.worker.now();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                    // Its body was late, cut or wrong: that the peer has not answered yet is no wonder.
                    report(lease.finish(Outcome::Neutral, now));
                    return Reached::Client(end);
                }
                Err((End::Peer(trouble), sent)) => {
                    let now = self.conn.worker.now();
                    self.s.attempts.push(story::attempt(&lease, connected, Answer::Failed(trouble.failure), now));
                    if matches!(trouble.failure, Failure::Connect | Failure::ConnectTimeout) {
                        if let Some(at) = course.charged.take() {
                            group.state.budget.refund(at);
                        }
                        if !trouble.local {
                            self.conn.worker.connect_failed(lease.peer());
                        }
                    }
                    report(lease.give_up(trouble.outcome(), &mut course.tried, now));
                    if let Err(why) = self.decide(&mut course, trouble.cause(), sent, &group, now) {
                        self.story.why = Some(why);
                        return settle(self.s, course.held, trouble.reply());
                    }
                    course.failed = Some(trouble);
                }
            }
        }
    }

    /// Whether the request may be sent twice.
    pub fn is_repeatable(&self) -> bool {
        self.s.request.method_kind().is_idempotent() || self.rules().proxy.next_upstream.non_idempotent
    }

    /// Asks the retry policy and then the group's budget.
    fn decide(&self, course: &mut Course, cause: Cause, sent: bool, group: &Group, now: Timestamp) -> Result<(), Why> {
        let proxy = self.rules().proxy;
        let seen = Attempted {
            cause,
            sent,
            answered: self.interim,
            idempotent: self.s.request.method_kind().is_idempotent(),
            replayable: self.body.replayable(),
            attempts: course.made,
            elapsed: course.since.map_or(Duration::ZERO, |since| now.since(since)),
        };
        let tries = group.attempts(proxy.next_upstream_tries);
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
    async fn attempt(
        &mut self,
        group: &Group,
        lease: &Lease,
        may_abandon: bool,
        connected: &mut Option<Duration>,
    ) -> Result<(PeerConn, Upload, Answered), (End, bool)> {
        let peer = lease.peer();
        let repeatable = self.is_repeatable();
        let mut sent = false;
        let mut fresh = group.config.keepalive == 0;
        loop {
            self.conn.seat.slot.wait_for(Some(peer.id));
            let pooled = if fresh {
                None
            } else {
                self.conn.worker.pools.borrow_mut().take(peer.id, !repeatable, lease.began())
            };
            let mut peer_conn = match pooled {
                Some((stream, reuse)) => {
                    *connected = Some(Duration::ZERO);
                    PeerConn { stream, reuse, untested: true }
                }
                None => {
                    let opened = self.connect(peer.addr, may_abandon).await.map_err(|end| (end, sent))?;
                    *connected = Some(self.conn.worker.now().since(lease.began()));
                    opened
                }
            };
            self.write_head(group);
            let mut upload = Upload::new(self.s, &self.body);
            peer_conn.reuse.requests += 1;
            let end = match self.ask(&mut peer_conn, &mut upload, may_abandon).await {
                Ok(answered) => return Ok((peer_conn, upload, answered)),
                Err(end) => end,
            };
            sent |= upload.wrote();
            match end {
                // The peer closed an idle connection while the request was on its way: nobody's fault, and a new
                // connection tells. Only what may be sent twice is.
                End::Peer(trouble) if peer_conn.untested && trouble.is_a_close() => {
                    if sent && !(repeatable && self.body.replayable()) {
                        return Err((End::Peer(Trouble { local: true, ..trouble }), sent));
                    }
                    fresh = true;
                }
                end => return Err((end, sent)),
            }
        }
    }
}

/// Puts an answer aside while somebody else is asked: if nobody gives another, it is the last true one.
fn hold(s: &mut Scratch, mut delivered: Delivered, tried: &mut Tried, now: Timestamp) -> Held {
    let outcome = std::mem::replace(&mut delivered.outcome, Outcome::Neutral);
    if let Some(lease) = delivered.lease.take() {
        report(lease.give_up(outcome, tried, now));
    }
    // What it had not taken of the request goes to somebody else now.
    delivered.upload.give_up();
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

/// Logs what a request's end has changed.
pub fn report(transition: Option<PeerTransition>) {
    if let Some(PeerTransition { peer, transition }) = transition {
        telemetry::transition::log(&peer.group.name, &peer.text, &transition);
    }
}
