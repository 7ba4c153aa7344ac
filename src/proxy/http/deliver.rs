//! How does a peer's answer reach the client, and what is left of both connections then?

use std::time::Duration;

use super::attempt::PeerConn;
use super::attempts::{Delivered, report};
use super::connection::{After, Connection};
use super::headers::{self, Delivery};
use super::outcome::Trouble;
use super::relay::{Cut, Relay};
use super::request::Exchange;
use crate::clock::Timestamp;
use crate::health::Outcome;
use crate::http1::Framing;
use crate::net;
use crate::telemetry::{Answer, Why};
use crate::topology::Lease;

impl Exchange<'_> {
    /// Passes on the answer whose head is in the scratch.
    pub async fn deliver(&mut self, mut d: Delivered) -> After {
        if self.s.response.status() == 101 {
            return self.tunnel(d).await;
        }
        let rules = self.rules();
        let framing = self.s.response.framing(self.s.request.method_kind());
        self.s.body_out.begin(framing);
        let delivery = headers::delivery(framing, self.s.request.version());
        let keep = self.body.complete
            && delivery != Delivery::UntilClose
            && self.conn.may_keep(&self.s.request, Some(rules.client));
        let head = self.write_answer(delivery, keep);
        self.story.status = self.s.response.status();
        if let (Some(lease), Outcome::Success) = (&mut d.lease, &d.outcome) {
            report(lease.head_received(d.answered.at));
        }
        let mut relay = Relay::new(delivery);
        let streamed = relay.stream(self.conn, self.s, &mut d.peer, &mut d.upload, &mut self.body, rules).await;
        let now = self.conn.worker.now();
        if let Some(attempt) = self.s.attempts.get_mut(d.entry) {
            attempt.response_time += now.since(d.answered.at);
        }
        let after = match streamed {
            Ok(()) => {
                let reusable = d.upload.is_whole() && self.s.body_out.is_done() && relay.took_all(self.s);
                if let Some(lease) = d.lease.take() {
                    if reusable && framing != Framing::UntilClose && self.s.response.keep_alive() {
                        put_back(self.conn, &lease, d.peer, self.s.response.keep_alive_timeout(), now);
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
            Err(Cut::Client(end)) => {
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
                match relay.flush(self.conn, self.s, rules).await {
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
    pub fn write_answer(&mut self, delivery: Delivery, keep_alive: bool) -> u64 {
        let mut out = std::mem::take(&mut self.s.to_client);
        headers::write_response(
            &mut out,
            &headers::Inbound {
                head: &self.s.response,
                delivery,
                client: self.s.request.version(),
                keep_alive,
                hide: &self.route.location.proxy.hide_header,
                add: &self.route.location.add_header,
                scope: &self.story.scope(self.conn, self.s, Some(self.route)),
            },
        );
        self.s.to_client = out;
        self.s.to_client.len() as u64
    }
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
