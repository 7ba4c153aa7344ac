//! Is it worth asking somebody else meanwhile? A peer that has not answered after `hedge_after` gets company: one other is
//! asked as well, and whoever answers first serves the client. The other one is left, and not blamed.
//!
//! Nothing here runs where `hedge_after` is off.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{sleep_until, timeout};

use super::apart;
use super::attempt::{End, HEADROOM, MAX_INTERIM, PeerConn, TOO_MANY_INTERIM, Transaction, malformed};
use super::attempts::{Asked, Attempt, Course, is_of_connecting, report};
use super::headers;
use super::http2::{self, Ended, Entry, Link, Peers};
use super::join::limits_of;
use super::outcome::Trouble;
use super::request::Exchange;
use super::side::Side;
use super::story;
use super::upload::Upload;
use crate::clock::Timestamp;
use crate::config::model::{HedgeAfter, HttpVersion, ProxySettings};
use crate::health::Outcome;
use crate::http1::{FieldSection, Framing, Limits, Method, Progress, ResponseHead};
use crate::net::{self, Buffer, Reuse};
use crate::proxy::dial::{self, Content};
use crate::proxy::worker::Worker;
use crate::telemetry::{Answer, Failure};
use crate::topology::{Ask, Group, Lease, Local, Peer, Tried};

/// A request as it goes out to a second peer, apart from the exchange, which is in the hands of the first attempt.
struct Second {
    worker: Rc<Worker>,
    group: Local<Group>,
    head: Vec<u8>,
    /// The PROXY header.
    header: Option<Vec<u8>>,
    http2: bool,
    connect_timeout: Duration,
    max_head: usize,
}

/// A second peer has begun to answer.
struct Begun {
    conn: Box<PeerConn>,
    /// What it has said so far: a head, and what came behind it.
    said: Buffer,
    connected: Duration,
}

/// Who ended first.
enum First<A, B> {
    Own(A),
    Other(B),
}

/// How it went on with two.
enum Race<F> {
    /// The first one's attempt has ended, and with it the other's.
    Own(Asked),
    /// The second answers.
    Other(Lease, Begun),
    /// The first has failed while the second was still waited for.
    Second(Trouble, Lease, Pin<Box<F>>),
}

impl<'e> Exchange<'e> {
    /// After which wait for this attempt somebody else is asked; `None`: nobody.
    pub fn hedge_delay(&self, group: &Group) -> Option<Duration> {
        let after = self.rules().proxy.hedge_after?;
        let method = matches!(self.s.request.method_kind(), Method::Get | Method::Head);
        let bare = self.body.framing == Framing::None && headers::upgrade(&self.s.request).is_none();
        // A session may live in the memory of the one peer that the client is bound to.
        if !method || !bare || self.hint.tag.is_some() {
            return None;
        }
        match after {
            HedgeAfter::Time(time) => Some(time),
            HedgeAfter::Percentile(percent) => group.state.usual_wait(percent),
        }
    }

    /// Asks the leased peer, and one other if it does not answer within `delay`. Says how the attempt ended that was not
    /// left, whose lease is in `attempt` then; what became of the other is told already.
    pub fn hedged<'a>(
        &'a mut self,
        course: &'a mut Course,
        attempt: &'a mut Attempt,
        connected: &'a mut Option<Duration>,
        delay: Duration,
    ) -> Pin<Box<dyn Future<Output = Asked> + 'a>>
    where
        'e: 'a,
    {
        apart(|| self.race(course, attempt, connected, delay))
    }

    async fn race(
        &mut self,
        course: &mut Course,
        attempt: &mut Attempt,
        connected: &mut Option<Duration>,
        delay: Duration,
    ) -> Asked {
        let group = &attempt.group.clone();
        let worker = Rc::clone(&self.conn.worker);
        let rules = self.rules().proxy;
        let second = self.second(group, rules);
        let key = self.s.key.clone();
        let mut told = None;
        let ended = 'race: {
            let mut first = pin!(self.attempt::<true>(attempt, connected));
            let wait = pin!(sleep_until(worker.clock.instant(attempt.lease.began() + delay)));
            if let First::Own(ended) = either(first.as_mut(), wait).await {
                break 'race Race::Own(ended);
            }
            let Some(other) = lease_other(group, course, &attempt.lease, &key, worker.now()) else {
                break 'race Race::Own(first.await);
            };
            course.hedged = true;
            let mut answer = Box::pin(second.ask(Arc::clone(other.peer())));
            match either(first.as_mut(), answer.as_mut()).await {
                First::Own(Err((End::Peer(trouble), _))) => Race::Second(trouble, other, answer),
                First::Own(ended) => {
                    let now = worker.now();
                    told = Some(story::attempt(&other, None, Answer::None, now));
                    report(other.finish(Outcome::Neutral, now));
                    Race::Own(ended)
                }
                First::Other(Ok(begun)) => Race::Other(other, begun),
                First::Other(Err(trouble)) => {
                    let now = worker.now();
                    told = Some(story::attempt(&other, None, Answer::Failed(trouble.failure), now));
                    if is_of_connecting(&trouble) {
                        group.state.budget.refund(other.began());
                        if !trouble.local {
                            worker.connect_failed(other.peer());
                        }
                    }
                    report(other.give_up(trouble.outcome(), &mut course.tried, now));
                    Race::Own(first.await)
                }
            }
        };
        match ended {
            Race::Own(ended) => {
                self.s.attempts.extend(told);
                ended
            }
            Race::Other(other, begun) => {
                let now = worker.now();
                self.s.attempts.push(story::attempt(&attempt.lease, *connected, Answer::None, now));
                course.tried.insert(attempt.lease.peer().id);
                report(std::mem::replace(&mut attempt.lease, other).outrun(now));
                self.go_on(attempt, begun, connected).await
            }
            // The other one is under way: it is the next attempt.
            Race::Second(trouble, other, answer) => {
                let failed = std::mem::replace(&mut attempt.lease, other);
                self.failed(course, group, failed, connected.take(), &trouble);
                course.failed = Some(trouble);
                match self.begun(answer, rules).await {
                    Ok(begun) => self.go_on(attempt, begun, connected).await,
                    Err(end) => Err((end, true)),
                }
            }
        }
    }

    fn second(&mut self, group: &Local<Group>, rules: &ProxySettings) -> Rc<Second> {
        let http2 = rules.http_version == HttpVersion::Http2;
        self.write_head(group, http2);
        Rc::new(Second {
            worker: Rc::clone(&self.conn.worker),
            group: group.clone(),
            head: self.s.to_peer.clone(),
            header: dial::header(group, self.story.address, &self.conn.client.local),
            http2,
            connect_timeout: rules.connect_timeout,
            max_head: rules.max_response_head,
        })
    }

    /// The second peer's attempt becomes that of the exchange.
    async fn go_on(&mut self, attempt: &Attempt, begun: Begun, connected: &mut Option<Duration>) -> Asked {
        let Attempt { lease, may_abandon, .. } = attempt;
        let Begun { conn, said, connected: took } = begun;
        *connected = Some(took);
        self.conn.seat.slot.wait_for(Some(lease.peer().id));
        self.s.response.clear();
        self.s.peer_in = said;
        let mut transaction = Transaction::new(conn, Upload::sent(), lease.began());
        match self.ask(&mut transaction, *may_abandon).await {
            Ok(()) => Ok(transaction),
            Err(end) => Err((end, true)),
        }
    }

    /// The first has failed, and nobody but the second is waited for.
    async fn begun(
        &mut self,
        mut answer: Pin<Box<impl Future<Output = Result<Begun, Trouble>>>>,
        rules: &ProxySettings,
    ) -> Result<Begun, End> {
        let Exchange { conn, s, .. } = self;
        conn.deadline.set(conn.worker.now(), rules.read_timeout);
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(End::Peer)),
            Poll::Pending if conn.stream.has_left(cx, &mut s.client_in) => Poll::Ready(Err(End::Left)),
            Poll::Pending => {
                conn.deadline.poll(cx).map(|()| Err(End::Peer(Trouble::late(Failure::ReadTimeout, rules))))
            }
        })
        .await
    }
}

/// Another peer that is up, if the budget allows to ask it.
fn lease_other(group: &Group, course: &Course, first: &Lease, key: &[u8], now: Timestamp) -> Option<Lease> {
    let mut tried: Tried = course.tried.clone();
    tried.insert(first.peer().id);
    // Not as a trial, nor as a last resort: nothing is gained by waiting for two that are ill.
    let ask = Ask { key, repeatable: false, tried: &tried, bound: None };
    let other = group.try_lease(&ask, now).ok().filter(|lease| !lease.is_last_resort() && !lease.is_trial())?;
    group.try_retry(now).then_some(other)
}

/// Whoever of the two ends first; the first of them if both do.
async fn either<A: Future, B: Future>(mut own: Pin<&mut A>, mut other: Pin<&mut B>) -> First<A::Output, B::Output> {
    poll_fn(|cx| match own.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(First::Own(ended)),
        Poll::Pending => other.as_mut().poll(cx).map(First::Other),
    })
    .await
}

impl Second {
    /// Sends the request, and waits for the head of an answer.
    async fn ask(self: Rc<Self>, peer: Arc<Peer>) -> Result<Begun, Trouble> {
        let began = self.worker.now();
        let mut conn = match self.idle(&peer, began) {
            Some(conn) => conn,
            None => {
                let late = || {
                    Trouble::new(Failure::ConnectTimeout, format!("no connection within {:?}", self.connect_timeout))
                };
                timeout(self.connect_timeout, self.connect(&peer, began)).await.map_err(|_| late())??
            }
        };
        let connected = if conn.reuse.requests == 0 { self.worker.now().since(began) } else { Duration::ZERO };
        conn.reuse.requests += 1;
        conn.stream.announce(true);
        let mut sent = 0;
        let wrote = poll_fn(|cx| {
            while sent < self.head.len() {
                match conn.stream.poll_write(cx, &[IoSlice::new(&self.head[sent..])]) {
                    Poll::Ready(Ok(n)) => sent += n,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            conn.stream.poll_flush(cx)
        });
        if let Err(error) = wrote.await {
            return Err(blame(conn.stream.trouble(Failure::Send, &error), &conn));
        }
        conn.stream.finish(&FieldSection::default());
        let said = self.head_of_answer(&mut conn).await.map_err(|trouble| blame(trouble, &conn))?;
        Ok(Begun { conn, said, connected })
    }

    /// Reads until a head has come that is an answer's. A peer that only says that it will answer (1xx) has not: of what it
    /// says so, nothing is left.
    async fn head_of_answer(&self, conn: &mut PeerConn) -> Result<Buffer, Trouble> {
        let limits = Limits { head: self.max_head, ..Limits::default() };
        let (mut said, mut head, mut interims) = (Buffer::default(), ResponseHead::new(), 0);
        loop {
            match poll_fn(|cx| conn.stream.poll_fill(&mut said, cx, self.max_head.saturating_add(HEADROOM))).await {
                Ok(1..) => conn.untested = false,
                Ok(0) => return Err(Trouble::new(Failure::Closed, "closed the connection without an answer")),
                Err(error) => return Err(conn.stream.trouble(Failure::Closed, &error)),
            }
            loop {
                match head.parse(said.data(), &limits) {
                    Err(reject) => return Err(malformed(&reject)),
                    Ok(Progress::Partial) => break,
                    Ok(Progress::Complete { .. }) if !head.is_interim() => return Ok(said),
                    Ok(Progress::Complete { consumed }) => said.consume(consumed),
                }
                interims += 1;
                if interims > MAX_INTERIM {
                    return Err(malformed(&TOO_MANY_INTERIM));
                }
                head.clear();
                if said.is_empty() {
                    break;
                }
            }
        }
    }

    /// An idle connection, or a stream of one that is there.
    fn idle(&self, peer: &Peer, now: Timestamp) -> Option<Box<PeerConn>> {
        if self.http2 || self.group.config.keepalive == 0 {
            return None;
        }
        let mut pools = self.worker.pools.borrow_mut();
        pools.take(peer.id, self.trust(), true, now)
    }

    async fn connect(&self, peer: &Peer, now: Timestamp) -> Result<Box<PeerConn>, Trouble> {
        let reuse = Reuse { opened: now, requests: 0, promised: None, trust: self.trust() };
        if !self.http2 {
            let stream = self.open(peer, Content::Http).await?;
            return Ok(Box::new(PeerConn { stream: Side::Http1(stream), reuse, untested: false }));
        }
        if self.header.is_some() {
            let stream = Box::new(self.link(peer).await?.alone(&self.worker));
            return Ok(Box::new(PeerConn { stream: Side::Http2(stream), reuse, untested: false }));
        }
        loop {
            match Peers::enter(&self.worker, peer.id, self.trust(), self.worker.now()) {
                Entry::Stream(stream, untested) => {
                    return Ok(Box::new(PeerConn { stream: Side::Http2(stream), reuse, untested }));
                }
                Entry::Wait(opening) => {
                    if let Ended::Failed(trouble) = poll_fn(|cx| opening.poll(cx)).await {
                        return Err(trouble.blames(false));
                    }
                }
                Entry::Full => return Err(Trouble::busy()),
                Entry::Open(turn) => match self.link(peer).await {
                    Ok(link) => turn.opened(link),
                    Err(trouble) => {
                        turn.failed(&trouble);
                        return Err(trouble);
                    }
                },
            }
        }
    }

    async fn link(&self, peer: &Peer) -> Result<Link, Trouble> {
        let stream = self.open(peer, Content::Http2).await?;
        let shaken = http2::dial(stream, self.max_head).await;
        let send = shaken.map_err(|_| Trouble::new(Failure::Connect, "closed the connection at once"))?;
        Ok(Link::new(send, limits_of(&self.group), self.trust(), self.worker.now()))
    }

    async fn open(&self, peer: &Peer, content: Content) -> Result<net::Stream, Trouble> {
        dial::open(&self.group, peer, self.header.as_deref(), content).await
    }

    fn trust(&self) -> Option<u64> {
        self.group.config.tls.as_ref().map(|connector| connector.id())
    }
}

/// A connection that was idle may have been closed long ago, which is nobody's failure.
fn blame(trouble: Trouble, conn: &PeerConn) -> Trouble {
    let stale = conn.untested && trouble.is_a_close();
    Trouble { local: trouble.local || stale, ..trouble }
}
