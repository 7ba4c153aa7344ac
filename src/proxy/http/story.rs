//! What is told of a request when it is over? Gathered on its way, emitted once.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::scratch::Scratch;
use super::variables::{RequestId, Scope, host_alone, protocol, remote_user};
use crate::clock::{self, Timestamp};
use crate::endpoint::ClientAddr;
use crate::http1::Known;
use crate::telemetry::{Answer, Attempt, Failure, Limited, NoVariables, RequestDone, Sticky, Why};
use crate::topology::{Lease, Route};

/// A request's story so far.
pub struct Story {
    /// Its first byte.
    pub began: Timestamp,
    /// The client, after trusted proxies.
    pub address: ClientAddr,
    /// `$request_id`.
    pub id: RequestId,
    /// What the client was answered; until then 499: it left before.
    pub status: u16,
    /// Bytes of the answer.
    pub sent: u64,
    /// Those of its body.
    pub body_sent: u64,
    /// Decoded bytes of the request's body.
    pub body_received: u64,
    /// Why there was no further attempt.
    pub why: Option<Why>,
    /// Time in the group's queue.
    pub queue_time: Option<Duration>,
    /// Strict-Transport-Security of its answer.
    pub hsts: Option<Arc<str>>,
    /// A peer's answer, whose head is in the scratch, is passed on.
    pub answered: bool,
    /// What became of the binding of the client.
    pub sticky: Option<Sticky>,
    /// What `limit_req` said.
    pub limit_req: Option<Limited>,
    /// What `limit_conn` said.
    pub limit_conn: Option<Limited>,
}

impl Story {
    /// A story that has begun.
    pub fn new(began: Timestamp, address: ClientAddr) -> Story {
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
            hsts: None,
            answered: false,
            sticky: None,
            limit_req: None,
            limit_conn: None,
        }
    }

    /// All of it so far, to be told by somebody else.
    pub fn take(&mut self) -> Story {
        let blank = Story::new(self.began, self.address);
        std::mem::replace(self, blank)
    }

    /// The request as templates see it.
    pub fn scope<'a>(&'a self, conn: &'a Connection, s: &'a Scratch, route: Option<&'a Route>) -> Scope<'a> {
        Scope {
            head: &s.request,
            client: &conn.client,
            address: self.address,
            path: &s.path,
            server_name: route.map_or("", |route| &route.server_name),
            proxy_host: route.map_or("", |route| &route.location.proxy_host),
            request_id: &self.id,
            answer: self.answered.then_some(&s.response),
        }
    }

    /// Tells it: the request is over.
    pub fn tell(&self, conn: &Connection, s: &Scratch, route: Option<&Route>) {
        let log = &conn.worker.log;
        if !log.is_on() {
            return;
        }
        let head = &s.request;
        let known = !head.method().is_empty();
        let user = if known { remote_user(head) } else { None };
        let scope = self.scope(conn, s, route);
        let field = |known| head.field(known).unwrap_or_default();
        log.write(&RequestDone {
            at: clock::wall(),
            connection: conn.client.serial,
            client: self.address,
            remote_user: user.as_deref().unwrap_or_default(),
            method: head.method(),
            target: head.target(),
            protocol: if known { protocol(head) } else { "" },
            host: head.host().map(host_alone).unwrap_or_default(),
            referer: field(Known::Referer),
            user_agent: field(Known::UserAgent),
            request_id: self.id.made().unwrap_or_default(),
            status: self.status,
            request_length: head.wire_len() as u64 + self.body_received,
            bytes_sent: self.sent,
            body_bytes_sent: self.body_sent,
            request_time: conn.worker.now().since(self.began),
            queue_time: self.queue_time,
            group: route.map(|route| &*route.group_name).filter(|name| !name.is_empty()),
            attempts: &s.attempts,
            why: self.why,
            sticky: self.sticky,
            limit_req: self.limit_req,
            limit_conn: self.limit_conn,
            variables: if known { &scope } else { &NoVariables },
        });
    }
}

/// The entry of an attempt that ended so at `now`. `connected`: how long that took, if it came to it.
pub fn attempt(lease: &Lease, connected: Option<Duration>, answer: Answer, now: Timestamp) -> Attempt {
    let took = now.since(lease.began());
    Attempt {
        peer: lease.peer().called(),
        addr: Some(lease.peer().addr.clone()),
        answer,
        connect_time: connected,
        header_time: matches!(answer, Answer::Status(_)).then_some(took),
        response_time: took,
    }
}

/// The entry in the group's name when no peer could be chosen.
pub fn no_peer(group: &Arc<str>) -> Attempt {
    Attempt {
        peer: Arc::clone(group),
        addr: None,
        answer: Answer::Failed(Failure::NoPeer),
        connect_time: None,
        header_time: None,
        response_time: Duration::ZERO,
    }
}
