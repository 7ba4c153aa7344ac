//! How does a peer's answer reach the client, and what is left of both connections then?

use super::affinity::SetCookie;
use super::apart;
use super::attempt::{PeerConn, Transaction};
use super::attempts::report;
use super::connection::{After, Connection};
use super::grpc;
use super::headers::{self, Delivery};
use super::outcome::Trouble;
use super::relay::{Cut, Relay};
use super::reply::Reply;
use super::request::Exchange;
use crate::clock::Timestamp;
use crate::health::Outcome;
use crate::http1::{Framing, Version};
use crate::net;
use crate::telemetry::{Answer, Why};
use crate::topology::Lease;

impl Exchange<'_> {
    /// Passes on the answer whose head is in the scratch.
    pub async fn deliver(&mut self, mut d: Box<Transaction>) -> After {
        if self.s.response.status() == 101 {
            return apart(|| self.switch(d)).await;
        }
        if matches!(self.s.response.status(), 200..300) && headers::is_extended_connect(&self.s.request) {
            if let Some(lease) = d.lease.take() {
                report(lease.finish(d.outcome, self.conn.worker.now()));
            }
            return self.answer(Reply::new(502, "the upstream server did not switch protocols"), false).await;
        }
        let rules = self.rules();
        let framing = match self.s.response.framing(self.s.request.method_kind()) {
            framing if !d.peer.stream.is_http2() => framing,
            // Known to be empty; for HTTP/2 that is said with the head.
            Framing::UntilClose if d.peer.stream.is_over() => match self.s.request.version() {
                Version::Http2 => Framing::None,
                _ => Framing::Length(0),
            },
            framing => framing,
        };
        self.s.body_out.begin(d.peer.stream.coding(framing));
        let delivery = headers::delivery(framing, self.s.request.version());
        let keep = self.body.complete
            && delivery != Delivery::UntilClose
            && self.conn.may_keep(&self.s.request, Some(rules.client));
        let bond = self.bind(&d);
        let head = self.write_answer(delivery, keep, bond.cookie.as_ref());
        self.story.status = self.s.response.status();
        if let (Some(lease), Outcome::Success) = (&mut d.lease, &d.outcome) {
            report(lease.head_received(d.answered));
        }
        self.conn.stream.announce(delivery == Delivery::Empty);
        let mut relay = Relay::new(delivery);
        relay.closes = !keep;
        let streamed = match relay.begin(self.s) {
            // Boxed, for most answers come in one piece.
            Ok(true) => {
                apart(|| relay.stream(self.conn, self.s, &mut d.peer, &mut d.upload, &mut self.body, rules)).await
            }
            Ok(false) => Ok(()),
            Err(cut) => Err(cut),
        };
        let now = self.conn.worker.now();
        if let Some(attempt) = self.s.attempts.get_mut(d.entry) {
            attempt.response_time += now.since(d.answered);
        }
        let after = match streamed {
            Ok(()) => {
                self.learn(bond);
                let reusable = d.upload.is_whole() && self.s.body_out.is_done() && relay.took_all(self.s);
                if let Some(lease) = d.lease.take() {
                    let kept = reusable && framing != Framing::UntilClose && self.s.response.keep_alive();
                    if kept && !d.peer.stream.is_http2() {
                        d.peer.reuse.promised = self.s.response.keep_alive_timeout().or(d.peer.reuse.promised);
                        put_back(self.conn, &lease, d.peer, now);
                    }
                    report(lease.finish(d.outcome, now));
                }
                match relay.flush(self.conn, self.s, rules).await {
                    Ok(()) if keep => After::KeepAlive,
                    Ok(()) if !self.body.complete => After::Linger,
                    Ok(()) => After::Close,
                    Err(_) => After::Reset,
                }
            }
            // The call's own deadline blames nobody.
            Err(_) if self.conn.deadline.is_over(now) => {
                if let Some(lease) = d.lease.take() {
                    report(lease.client_left(now));
                }
                if self.is_unseen(&relay) {
                    self.s.to_client.clear();
                    return self.answer(grpc::DEADLINE, false).await;
                }
                self.s.body_out.finish(grpc::DEADLINE_TRAILERS);
                self.conn.stream.finish(self.s.body_out.trailers());
                After::Close
            }
            Err(Cut::Client(end)) => {
                self.learn(bond);
                if let Some(lease) = d.lease.take() {
                    match d.outcome {
                        Outcome::Success => report(lease.client_left(now)),
                        failure => report(lease.finish(failure, now)),
                    }
                }
                match end.reply() {
                    // Nothing of the answer went out yet: it can still be told what is wrong with its body.
                    Some(reply) if self.is_unseen(&relay) => {
                        self.s.to_client.clear();
                        return self.answer(reply, false).await;
                    }
                    _ => {
                        self.story.why = Some(Why::ClientGone);
                        After::Reset
                    }
                }
            }
            Err(Cut::Peer(trouble)) => {
                if let Some(attempt) = self.s.attempts.get_mut(d.entry) {
                    attempt.answer = Answer::Cut(self.s.response.status());
                }
                if let Some(lease) = d.lease.take() {
                    report(lease.finish(trouble.outcome(), now));
                }
                if self.is_unseen(&relay) {
                    self.s.to_client.clear();
                    return self.answer(Trouble::reply(&trouble), false).await;
                }
                self.story.why = Some(Why::AnswerBegun);
                // What did come is the client's.
                match apart(|| relay.flush(self.conn, self.s, rules)).await {
                    // That it is cut is seen by its framing; without one, only by a reset.
                    Ok(()) if delivery != Delivery::UntilClose => After::Close,
                    _ => After::Reset,
                }
            }
        };
        self.story.sent = relay.sent;
        self.story.body_sent = relay.body.min(relay.sent.saturating_sub(head));
        after
    }

    /// Whether the client has seen nothing of the answer, nor of one before it.
    fn is_unseen(&self, relay: &Relay) -> bool {
        relay.sent == 0 && !self.interim
    }

    /// Writes the head for the client. Returns how long it is.
    pub fn write_answer(&mut self, delivery: Delivery, keep_alive: bool, cookie: Option<&SetCookie>) -> u64 {
        self.story.answered = true;
        let mut out = std::mem::take(&mut self.s.to_client);
        headers::write_response(
            &mut out,
            &headers::Inbound {
                head: &self.s.response,
                delivery,
                client: self.s.request.version(),
                keep_alive,
                hide: &self.route.location.proxy.hide_header,
                hsts: self.story.hsts.as_deref(),
                add: &self.route.location.add_header,
                cookie,
                scope: &self.story.scope(self.conn, self.s, Some(self.route)),
            },
        );
        self.s.to_client = out;
        self.s.to_client.len() as u64
    }
}

fn put_back(conn: &Connection, lease: &Lease, mut peer: Box<PeerConn>, now: Timestamp) {
    peer.untested = true;
    // Nobody would ask for it any more.
    if lease.peer().is_gone() {
        return;
    }
    let limits = conn.worker.with(|topology| {
        topology.group(lease.group().id).map(|group| net::Limits {
            idle: group.config.keepalive,
            idle_time: group.config.keepalive_timeout,
            requests: group.config.keepalive_requests,
            age: group.config.keepalive_time,
        })
    });
    if let Some(limits) = limits {
        conn.worker.pools.borrow_mut().put(lease.peer().id, peer, &limits, now);
    }
}
