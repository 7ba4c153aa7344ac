//! How does this peer look right now? One look at one peer: HTTP, TCP or gRPC.
//!
//! Used by the control plane and by `weir healthcheck`. A look never outlives its time-out, never reads more than it
//! needs, and leaves neither task nor socket behind, whatever the peer sends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::HealthCheck;

/// How to look at one peer, again and again. It remembers whether the peer's answers kept the connection, so there is
/// one for each peer.
#[derive(Debug)]
pub struct Probe {
    _check: HealthCheck,
    _server: Arc<str>,
}

/// What one look gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was seen.
    pub seen: Seen,
    /// How long it took.
    pub took: Duration,
    /// How late weir itself was while it looked: a time-out says little when this is near the limit.
    pub lag: Duration,
}

/// What a probe saw of a peer. The details are short, without names of peers and without text of the peer's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All that was asked for.
    Pass,
    /// The application answered, and not as asked: `GET /health answered 500`.
    BadStatus {
        /// What it answered.
        detail: String,
    },
    /// No answer to judge: `connection refused`, `malformed answer`.
    Unreachable {
        /// What happened instead.
        detail: String,
    },
    /// No whole answer in time.
    TimedOut {
        /// What was missing, and the limit: `no answer within 1s`.
        detail: String,
    },
    /// 503 with `Connection: close`, from an application whose earlier answers kept the connection.
    DrainingItself,
}

impl Probe {
    /// A probe of the peer that the configuration calls `server` (`app1:5000`).
    pub fn new(check: &HealthCheck, server: &str) -> Probe {
        Probe { _check: check.clone(), _server: server.into() }
    }

    /// Looks at the peer at `addr`; the check's own `port` is used instead of the peer's, if it has one.
    pub async fn look(&self, _addr: SocketAddr) -> Look {
        todo!()
    }

    /// Looks at whoever listens on a unix socket.
    pub async fn look_at_unix(&self, _socket: &Path) -> Look {
        todo!()
    }
}
