//! What does TLS mean for the requests of a connection? Its handshake comes before them, and may owe each of them a refusal.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::connection::Connection;
use super::reply::Reply;
use crate::net::handshake::Opening;
use crate::proxy::handshake::{self, Handshake};
use crate::tls::{Acceptor, Facts};
use crate::topology::VirtualHosts;

/// What a client's connection is.
#[derive(Clone, Debug, Default)]
pub enum Security {
    /// Plain, on a port for plain connections.
    #[default]
    Plain,
    /// Plain, on a port for TLS: whatever is asked is answered with 400.
    Misled,
    /// Within TLS.
    Tls(Rc<Secured>),
}

/// What TLS has brought out.
#[derive(Clone, Debug)]
pub struct Secured {
    /// `$ssl_*`.
    pub facts: Facts,
    /// Whose handshake it was.
    acceptor: Arc<Acceptor>,
}

impl Security {
    /// What TLS has brought out; `None`: the connection is plain.
    pub fn facts(&self) -> Option<&Facts> {
        match self {
            Security::Tls(secured) => Some(&secured.facts),
            Security::Plain | Security::Misled => None,
        }
    }

    /// `$scheme`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Security::Tls(_) => "https",
            Security::Plain | Security::Misled => "http",
        }
    }

    /// Why a request for `host` is not served; `None`: it may be. (nginx's 495, 496, 497, and its 421.)
    pub fn refusal(&self, hosts: &VirtualHosts, host: &[u8]) -> Option<Reply> {
        let secured = match self {
            Security::Plain => return None,
            Security::Misled => return Some(Reply::new(400, "the plain HTTP request was sent to HTTPS port")),
            Security::Tls(secured) => secured,
        };
        // Who asks for one server in the handshake and for another by Host must not get around what either demands.
        let wanted = hosts.acceptor(host).unwrap_or(&secured.acceptor);
        if !Arc::ptr_eq(wanted, &secured.acceptor) && wanted.clients() != secured.acceptor.clients() {
            return Some(Reply::new(421, "the server was not asked for in the TLS handshake"));
        }
        let words = handshake::refusal(secured.acceptor.clients(), &secured.facts.client)?;
        Some(Reply::new(400, words))
    }
}

impl Connection {
    /// The handshake, if the listener speaks TLS. False: there is nobody to serve.
    pub(super) async fn secure(&mut self) -> bool {
        let Some(hosts) = self.client.hosts.clone().filter(|hosts| hosts.is_tls()) else { return true };
        let (now, limit) = (self.worker.now(), self.header_timeout());
        self.deadline.set(now, limit);
        let mut handshake = Handshake::default();
        let end = poll_fn(|cx| {
            let choose = |name: &str| hosts.acceptor(name.as_bytes());
            let Some(stream) = self.stream.stream() else { return Poll::Ready(Some(Ok(Opening::Nothing))) };
            if let Poll::Ready(end) = handshake.poll(stream, cx, choose) {
                return Poll::Ready(Some(end));
            }
            if self.is_ending() {
                let (from, limit) = self.worker.last_call(now);
                self.deadline.tighten(from, limit);
            }
            self.deadline.poll(cx).map(|()| None)
        })
        .await;
        let client = self.client.remote;
        match end {
            Some(Ok(Opening::Nothing)) => return false,
            Some(Ok(Opening::Plain)) => self.client.security = Security::Misled,
            Some(Ok(Opening::Tls)) => {
                if let Some((facts, acceptor)) = self.stream.stream().and_then(|stream| handshake.settle(stream)) {
                    self.client.security = Security::Tls(Rc::new(Secured { facts, acceptor }));
                }
            }
            Some(Err(error)) => {
                tracing::debug!("no TLS with {client}: {error}");
                return false;
            }
            None => {
                tracing::debug!("no TLS with {client}: the handshake took too long");
                return false;
            }
        }
        true
    }
}
