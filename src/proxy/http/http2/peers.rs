//! Which connection to a peer does a request go over? Connections are shared by as many requests as the peer allows.
//!
//! While one is being opened, others wait for it instead of opening their own: whoever opens has the [`Turn`].

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::uri::Scheme;
use slab::Slab;

use super::stream::Stream;
use super::{SEND_BUFFER, STREAM_WINDOW};
use crate::clock::Timestamp;
use crate::id::{BuildIdHasher, PeerId};
use crate::net::Limits;
use crate::proxy::http::outcome::Trouble;
use crate::proxy::worker::Worker;
use crate::telemetry::Failure;

/// Requests at once over one connection, whatever the peer allows.
const MOST_STREAMS: usize = 256;

/// Requests that wait for one connection to be opened: what Envoy lets wait (`max_pending_requests`). The next ones ask somebody
/// else, or are told at once that all are busy.
const MOST_WAITING: usize = 1024;

/// The shared connections of one worker.
#[derive(Default)]
pub struct Peers {
    by_peer: HashMap<PeerId, Known, BuildIdHasher>,
}

#[derive(Default)]
struct Known {
    links: Vec<Rc<Link>>,
    opening: Option<Rc<Opening>>,
}

/// One connection to a peer.
pub struct Link {
    send: SendRequest<Bytes>,
    /// Asks for a word of the peer.
    ping: Cell<Option<PingPong>>,
    /// There once somebody has asked whether the peer's settings have come.
    settings: OnceCell<Rc<Opening>>,
    limits: Limits,
    /// Which connector its TLS was made by; `None`: there is none.
    trust: Option<u64>,
    opened: Timestamp,
    /// Requests that were begun on it.
    requests: Cell<u64>,
    /// Requests in flight on it.
    in_flight: Cell<usize>,
    /// When the last one ended.
    idle_since: Cell<Timestamp>,
    retired: Cell<bool>,
    blamed: Cell<bool>,
}

/// A request's part in a connection, until it is dropped.
pub struct Use {
    link: Rc<Link>,
    worker: Rc<Worker>,
}

/// The way to a stream.
pub enum Entry {
    /// Here it is. `idle`: nothing else went over the connection just now, so the peer may have closed it long ago.
    Stream(Box<Stream>, /* idle */ bool),
    /// Nobody has room: open a connection.
    Open(Turn),
    /// Somebody opens one.
    Wait(Waiting),
    /// Somebody opens one, and as many as may wait for it.
    Full,
}

/// The right, and the duty, to open a connection to a peer.
pub struct Turn {
    worker: Rc<Worker>,
    peer: PeerId,
    opening: Rc<Opening>,
}

/// A connection that is being opened, or whose settings are waited for.
#[derive(Default)]
struct Opening {
    ended: RefCell<Option<Ended>>,
    waiting: RefCell<Slab<Option<Waker>>>,
}

/// One who waits for its end.
pub struct Waiting {
    opening: Rc<Opening>,
    key: usize,
}

/// How an opening ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// Ask again: there is a connection, or nobody who opens one.
    AskAgain,
    /// The peer could not be reached.
    Failed(Trouble),
}

/// A connection that speaks HTTP/2.
pub struct Begun {
    send: SendRequest<Bytes>,
    ping: Option<PingPong>,
}

/// Begins to speak HTTP/2 on a connection to a peer, and has it driven for as long as somebody has the returned handle.
pub async fn dial(stream: crate::net::Stream, max_head: usize) -> Result<Begun, h2::Error> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        // Room for every stream: a client that reads slowly keeps its own waiting, and nobody else's.
        .initial_connection_window_size(STREAM_WINDOW * MOST_STREAMS as u32)
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    let (send, mut connection) = builder.handshake(stream).await?;
    let ping = connection.ping_pong();
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!("HTTP/2 connection to a peer: {error}");
        }
    });
    Ok(Begun { send, ping })
}

/// Ends when the peer's settings have come, or its connection has ended. They are the first that it sends (RFC 9113 §3.4), but the library
/// does not say when they are there: so a word is asked for that can only come after them.
fn settings(ping: Option<PingPong>) -> Rc<Opening> {
    let known = Rc::<Opening>::default();
    let told = Rc::clone(&known);
    tokio::task::spawn_local(async move {
        if let Some(mut ping) = ping
            && ping.ping(Ping::opaque()).await.is_err()
        {
            let trouble = Trouble::new(Failure::Closed, "closed the connection before its settings came");
            *told.ended.borrow_mut() = Some(Ended::Failed(trouble));
        }
        told.end();
    });
    known
}

impl Peers {
    /// A stream to `peer`, or what to do to get one. `trust`: which connector its TLS must be made by.
    pub fn enter(worker: &Rc<Worker>, peer: PeerId, trust: Option<u64>, now: Timestamp) -> Entry {
        let mut peers = worker.http2.borrow_mut();
        let known = peers.by_peer.entry(peer).or_default();
        known.links.retain(|link| link.serves(now) && link.trust == trust);
        // The busiest that has room: so that those which are not needed become idle.
        let busiest = known.links.iter().filter(|link| link.has_room()).max_by_key(|link| link.in_flight.get());
        if let Some(link) = busiest {
            let idle = link.in_flight.get() == 0 && link.requests.get() > 0;
            return Entry::Stream(Box::new(Link::stream(link, worker)), idle);
        }
        if let Some(opening) = &known.opening {
            return opening.join().map_or(Entry::Full, Entry::Wait);
        }
        let opening = Rc::<Opening>::default();
        known.opening = Some(Rc::clone(&opening));
        Entry::Open(Turn { worker: Rc::clone(worker), peer, opening })
    }

    /// Lets go of what has been idle too long. Called about once a second.
    pub fn sweep(&mut self, now: Timestamp) {
        for known in self.by_peer.values_mut() {
            known.links.retain(|link| link.serves(now));
        }
        self.by_peer.retain(|_, known| !known.links.is_empty() || known.opening.is_some());
    }

    /// No further request goes over the connections to a peer: it was found unreachable, or is gone.
    pub fn forget(&mut self, peer: PeerId) {
        if let Some(known) = self.by_peer.get_mut(&peer) {
            known.links.clear();
        }
    }
}

impl Link {
    /// A connection that was just opened. The library closes it when nobody has it any more.
    pub fn new(begun: Begun, limits: Limits, trust: Option<u64>, now: Timestamp) -> Link {
        Link {
            send: begun.send,
            ping: Cell::new(begun.ping),
            settings: OnceCell::new(),
            limits,
            trust,
            opened: now,
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_since: Cell::new(now),
            retired: Cell::new(false),
            blamed: Cell::new(false),
        }
    }

    /// A stream over it that no other will share it with.
    pub fn alone(self, worker: &Rc<Worker>) -> Stream {
        Link::stream(&Rc::new(self), worker)
    }

    fn stream(link: &Rc<Link>, worker: &Rc<Worker>) -> Stream {
        link.in_flight.set(link.in_flight.get() + 1);
        link.requests.set(link.requests.get() + 1);
        let taken = Use { link: Rc::clone(link), worker: Rc::clone(worker) };
        let scheme = if link.trust.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        Stream::to_peer(link.send.clone(), scheme, taken)
    }

    /// Whether it lives, and may serve more requests than those it serves.
    fn serves(&self, now: Timestamp) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let lives = !matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Err(_)));
        let young = self.requests.get() < self.limits.requests && now.since(self.opened) < self.limits.age;
        let idle_time = if self.limits.idle == 0 { Duration::ZERO } else { self.limits.idle_time };
        let unused = self.requests.get() > 0 && self.in_flight.get() == 0;
        let idle = unused && now.since(self.idle_since.get()) >= idle_time;
        lives && young && !idle && !self.retired.get()
    }

    fn has_room(&self) -> bool {
        self.in_flight.get() < self.send.current_max_send_streams().min(MOST_STREAMS)
    }
}

impl Use {
    /// Whether the end of the connection is to be counted as the peer's failure: only once.
    pub fn blame(&self) -> bool {
        !self.link.blamed.replace(true)
    }

    /// To wait until the peer's settings have come; `None`: too many do.
    pub fn settings(&self) -> Option<Waiting> {
        self.link.settings.get_or_init(|| settings(self.link.ping.take())).join()
    }

    /// Whether the peer takes extended CONNECT, as its settings say.
    pub fn takes_connect(&self) -> bool {
        self.link.send.is_extended_connect_protocol_enabled()
    }

    /// The connection serves no further requests.
    pub fn retire(&self) {
        self.link.retired.set(true);
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.link.in_flight.set(self.link.in_flight.get() - 1);
        self.link.idle_since.set(self.worker.now());
    }
}

impl Turn {
    /// The connection stands.
    pub fn opened(self, link: Link) {
        if let Some(known) = self.worker.http2.borrow_mut().by_peer.get_mut(&self.peer) {
            known.links.push(Rc::new(link));
        }
    }

    /// The peer cannot be reached.
    pub fn failed(self, trouble: &Trouble) {
        *self.opening.ended.borrow_mut() = Some(Ended::Failed(trouble.clone()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(known) = self.worker.http2.borrow_mut().by_peer.get_mut(&self.peer) {
            known.opening = None;
        }
        self.opening.end();
    }
}

impl Opening {
    /// Who waits for its end; `None`: too many do.
    fn join(self: &Rc<Opening>) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        (waiting.len() < MOST_WAITING).then(|| Waiting { key: waiting.insert(None), opening: Rc::clone(self) })
    }

    /// It has ended, well unless something else was said.
    fn end(&self) {
        self.ended.borrow_mut().get_or_insert(Ended::AskAgain);
        let wakers: Vec<Waker> = self.waiting.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    /// Ready when it has ended.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Some(ended) = &*self.opening.ended.borrow() {
            return Poll::Ready(ended.clone());
        }
        match &mut self.opening.waiting.borrow_mut()[self.key] {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.opening.waiting.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(waiting: &Waiting) -> bool {
        waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_bounded_number_waits_for_a_connection_and_who_leaves_makes_room() {
        let opening = Rc::<Opening>::default();
        let mut waiting: Vec<Waiting> = (0..MOST_WAITING).map(|_| opening.join().unwrap()).collect();
        assert!(opening.join().is_none());
        waiting.swap_remove(7);
        waiting.push(opening.join().unwrap());
        assert!(opening.join().is_none());
        assert!(!waiting.iter().any(ended));
        opening.end();
        assert!(waiting.iter().all(ended));
    }
}
