//! Who was asked, and what follows? One peer after the other, until there is an answer or no reason to go on.

use std::time::Duration;

use super::apart;
use super::attempt::{End, PeerConn, Transaction};
use super::body::ClientEnd;
use super::choice::{Unleased, nobody_reply};
use super::grpc;
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
use crate::topology::{Group, Lease, Local, PeerTransition, Tried};

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

/// One try at one peer.
pub struct Attempt {
    /// As it was when the peer was chosen.
    pub group: Local<Group>,
    /// The use of the peer.
    pub lease: Lease,
    /// It may be given up for the sake of another one.
    pub may_abandon: bool,
}

/// What an attempt came to; with an error comes whether a byte of the request may have reached the peer.
pub type Asked = Result<Box<Transaction>, (End, bool)>;

/// What an attempt remembers between the connections that it tries.
struct Sending {
    /// A byte of the request may have reached the peer.
    sent: bool,
    /// No idle connection will do.
    fresh: bool,
    refusals: u32,
}

impl Exchange<'_> {
    /// Asks one peer after the other.
    pub async fn attempts(&mut self) -> Reached {
        let mut course = Course::default();
        loop {
            let leased = match self.lease(&course.tried) {
                Ok(leased) => Ok(leased),
                Err(Some(nobody)) => Err(Unleased::Nobody(nobody)),
                // Boxed: few have to wait.
                Err(None) => apart(|| self.lease_later(&course.tried)).await,
            };
            let mut attempt = match leased {
                Ok((group, lease)) => self.begin(&mut course, group, lease),
                Err(unleased) => return self.unleased(&mut course, unleased),
            };
            let mut connected = None;
            let hedge = if course.hedged { None } else { self.hedge_delay(&attempt.group) };
            let asked = match hedge {
                None => self.attempt::<false>(&attempt, &mut connected).await,
                Some(delay) => self.hedged(&mut course, &mut attempt, &mut connected, delay).await,
            };
            let reached = match asked {
                Ok(transaction) => self.answered(&mut course, attempt, connected, transaction),
                Err((end, sent)) => self.unanswered(&mut course, attempt, connected, end, sent),
            };
            if let Some(reached) = reached {
                return reached;
            }
        }
    }

    /// There is somebody to ask.
    fn begin(&self, course: &mut Course, group: Local<Group>, lease: Lease) -> Attempt {
        let proxy = self.rules().proxy;
        course.made += 1;
        course.since.get_or_insert(lease.began());
        // Given up only for the sake of another try.
        let tries = group.tries(proxy.next_upstream_tries);
        let may_abandon = proxy.next_upstream.error && course.made < tries.in_all && course.asked + 1 < tries.asked;
        Attempt { group, lease, may_abandon }
    }

    /// Nobody can be asked.
    #[cold]
    fn unleased(&mut self, course: &mut Course, unleased: Unleased) -> Reached {
        let nobody = match unleased {
            Unleased::Left => return Reached::Client(ClientEnd::Gone),
            Unleased::Late => return Reached::Own(grpc::DEADLINE),
            Unleased::Nobody(nobody) => nobody,
        };
        let group = self.conn.worker.group(self.route.group);
        if course.made == 0 && group.is_none() {
            return Reached::Moved;
        }
        if let (Some(at), Some(group)) = (course.charged, group) {
            group.state.budget.refund(at);
        }
        if course.made > 0 {
            self.story.why = Some(Why::NobodyElse);
        }
        self.s.attempts.push(story::no_peer(&self.route.group_name));
        let own = course.failed.as_ref().map_or_else(|| nobody_reply(&nobody), Trouble::reply);
        settle(self.s, course, own)
    }

    /// A peer has answered. `None`: not well enough, and another one may be asked.
    fn answered(
        &mut self,
        course: &mut Course,
        attempt: Attempt,
        connected: Option<Duration>,
        mut transaction: Box<Transaction>,
    ) -> Option<Reached> {
        let Attempt { group, lease, .. } = attempt;
        let named = &self.rules().proxy.next_upstream;
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
            return Some(Reached::Answer(transaction));
        }
        if let Err(why) = self.decide(course, cause, true, &group, answered) {
            self.story.why = Some(why);
            return Some(Reached::Answer(transaction));
        }
        course.held = Some(hold(self.s, transaction, &mut course.tried, answered));
        None
    }

    /// An attempt ended without an answer. `None`: another one may be made.
    #[cold]
    fn unanswered(
        &mut self,
        course: &mut Course,
        attempt: Attempt,
        connected: Option<Duration>,
        end: End,
        sent: bool,
    ) -> Option<Reached> {
        let Attempt { group, lease, .. } = attempt;
        let now = self.conn.worker.now();
        let trouble = match end {
            End::Left => {
                self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                report(lease.client_left(now));
                return Some(Reached::Client(ClientEnd::Gone));
            }
            _ if self.conn.deadline.is_over(now) => {
                self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                report(lease.client_left(now));
                return Some(Reached::Own(grpc::DEADLINE));
            }
            End::Client(end) => {
                self.s.attempts.push(story::attempt(&lease, connected, Answer::None, now));
                // Its body was late, cut or wrong: that the peer has not answered yet is no wonder.
                report(lease.finish(Outcome::Neutral, now));
                return Some(Reached::Client(end));
            }
            End::Peer(trouble) => trouble,
        };
        let now = self.failed(course, &group, lease, connected, &trouble);
        if let Err(why) = self.decide(course, trouble.cause(), sent, &group, now) {
            self.story.why = Some(why);
            return Some(settle(self.s, course, trouble.reply()));
        }
        course.failed = Some(trouble);
        None
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

    /// Asks the leased peer: over an idle connection if there is one, else a new one.
    ///
    /// `HEDGED` changes nothing but that the two have code of their own: what as good as all requests wait in is part of
    /// [`Exchange::attempts`] then, and not one more function on the way to it.
    pub async fn attempt<const HEDGED: bool>(&mut self, attempt: &Attempt, connected: &mut Option<Duration>) -> Asked {
        let Attempt { group, lease, may_abandon } = attempt;
        let certain = !self.is_repeatable();
        let mut sending = Sending { sent: false, fresh: group.config.keepalive == 0, refusals: 0 };
        let trust = group.config.tls.as_ref().map(|connector| connector.id());
        loop {
            self.conn.seat.slot.wait_for(Some(lease.peer().id));
            let http2 = self.rules().proxy.http_version == HttpVersion::Http2;
            let mut transaction = if let Some(idle) = self.take_idle(lease, sending.fresh || http2, trust, certain) {
                *connected = Some(Duration::ZERO);
                self.address(attempt, idle, http2)
            } else {
                // Boxed, so that a request over an idle connection, as most are, is a small future.
                let opened = apart(|| self.reach(attempt, http2)).await.map_err(|end| (end, sending.sent))?;
                *connected = Some(self.conn.worker.now().since(lease.began()));
                self.address(attempt, opened, http2)
            };
            match self.ask(&mut transaction, *may_abandon).await {
                Ok(()) => return Ok(transaction),
                Err(end) => self.try_again(&mut sending, &transaction, end)?,
            }
        }
    }

    /// The request as it goes over this connection.
    fn address(&mut self, attempt: &Attempt, mut peer: Box<PeerConn>, http2: bool) -> Box<Transaction> {
        peer.reuse.requests += 1;
        let mut transaction = Transaction::new(peer, Upload::new(), attempt.lease.began());
        self.write_head(&attempt.group, http2);
        transaction.upload.begin(self.s, &self.body, &mut transaction.peer.stream);
        self.s.response.clear();
        self.s.peer_in.clear();
        transaction
    }

    /// A connection for the attempt that nobody has used, or one that others use as well.
    async fn reach(&mut self, attempt: &Attempt, http2: bool) -> Result<Box<PeerConn>, End> {
        let Attempt { group, lease, may_abandon } = attempt;
        match http2 {
            true => self.join(group, lease, *may_abandon).await,
            false => self.connect(group, lease.peer(), *may_abandon).await,
        }
    }

    /// Whether the same peer may be asked over another connection, after this end.
    #[cold]
    fn try_again(&self, sending: &mut Sending, transaction: &Transaction, end: End) -> Result<(), (End, bool)> {
        let Transaction { peer: conn, upload, .. } = transaction;
        if let (End::Peer(trouble), Side::Http2(stream)) = (&end, &conn.stream)
            && matches!(trouble.failure, Failure::ReadTimeout | Failure::SendTimeout)
        {
            // Whether the peer is slow or its connection dead is not known.
            stream.retire();
        }
        let refused = matches!(&end, End::Peer(trouble) if trouble.failure == Failure::Refused);
        sending.sent |= upload.wrote() && !refused;
        match end {
            // Most likely it ends this connection, and takes the next.
            End::Peer(_) if refused && sending.refusals < MOST_REFUSALS && self.body.replayable() => {
                sending.refusals += 1;
            }
            End::Peer(trouble) if refused => return Err((End::Peer(trouble), upload.wrote())),
            // The peer closed an idle connection while the request was on its way: nobody's fault, and a new
            // connection tells. Only what may be sent twice is.
            End::Peer(trouble) if conn.untested && trouble.is_a_close() => {
                if sending.sent && !(self.is_repeatable() && self.body.replayable()) {
                    return Err((End::Peer(Trouble { local: true, ..trouble }), sending.sent));
                }
                sending.fresh = true;
            }
            end => return Err((end, sending.sent)),
        }
        Ok(())
    }

    /// An idle connection to the leased peer. `certain`: one that is known to be alive.
    fn take_idle(&self, lease: &Lease, fresh: bool, trust: Option<u64>, certain: bool) -> Option<Box<PeerConn>> {
        if fresh {
            return None;
        }
        self.conn.worker.pools.borrow_mut().take(lease.peer().id, trust, certain, lease.began())
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
fn settle(s: &mut Scratch, course: &mut Course, own: Reply) -> Reached {
    match course.held.take() {
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
