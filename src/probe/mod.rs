//! How does this peer look right now? One look at one peer: HTTP, TCP or gRPC.
//!
//! Used by the control plane and by `weir healthcheck`. A look never outlives its time-out, never reads more than it
//! needs, and leaves neither task nor socket behind, whatever the peer sends.

mod connect;
pub mod expect;
mod grpc;
mod http;
mod json;
mod lag;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::config::model::{CheckKind, HealthCheck};
pub use crate::health::Seen;
use crate::proxy_protocol;
use tls::Handshake;
pub use tls::Tls;

/// Every probe says who asks, so that it can be told from traffic in the application's log.
const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"), " (health check)");

/// How to look at one peer, again and again. It remembers whether the peer's answers kept the connection, so there is
/// one for each peer.
#[derive(Debug)]
pub struct Probe {
    question: Question,
    tls: Option<Handshake>,
    timeout: Duration,
    port: Option<u16>,
    /// What is said before the question.
    preface: Vec<u8>,
    /// Whether the latest HTTP answer that was not a 503 kept the connection.
    keeps: AtomicBool,
}

/// What one look gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was seen.
    pub seen: Seen,
    /// How long it took.
    pub took: Duration,
    /// How late weir itself was while it looked; at least the limit if weir could not look at all. A time-out is no
    /// evidence against the peer when this is half the limit or more.
    pub lag: Duration,
}

impl Probe {
    /// A probe of the peer that the configuration calls `server` (`app1:5000`), which is also the Host it is asked for
    /// unless the check has its own.
    pub fn new(check: &HealthCheck, server: &str) -> Probe {
        let question = match &check.kind {
            CheckKind::Http { uri, host, expect } => {
                Question::Http(http::Question::new(uri, host.as_deref().unwrap_or(server), expect.clone()))
            }
            CheckKind::Tcp => Question::Tcp,
            CheckKind::Grpc { service, status } => {
                Question::Grpc(grpc::Question::new(server, service, *status, check.timeout))
            }
        };
        let (preface, keeps) = (Vec::new(), AtomicBool::new(false));
        Probe { question, tls: None, timeout: check.timeout, port: check.port, preface, keeps }
    }

    /// Begins every connection with a PROXY header that speaks for weir itself: LOCAL, or UNKNOWN in version 1. Not if
    /// the check has a port of its own, where somebody else may listen (as in HAProxy).
    pub fn with_proxy_protocol(mut self, version: proxy_protocol::Version) -> Probe {
        if self.port.is_none() {
            self.preface = proxy_protocol::encode(version, None);
        }
        self
    }

    /// Speaks HTTP and gRPC within TLS, as requests do.
    pub fn over_tls(self, tls: &Tls) -> Probe {
        let protocol: &[u8] = match &self.question {
            Question::Http(_) => b"http/1.1",
            Question::Grpc(_) => b"h2",
            Question::Tcp => return self,
        };
        Probe { tls: Some(Handshake::new(tls, protocol)), ..self }
    }

    /// Looks at the peer at `addr`; the check's own `port` takes the place of the peer's, if it has one.
    pub async fn look(&self, mut addr: SocketAddr) -> Look {
        addr.set_port(self.port.unwrap_or(addr.port()));
        self.look_over(TcpStream::connect(addr)).await
    }

    /// Looks at whoever listens on a unix socket.
    pub async fn look_at_unix(&self, socket: &Path) -> Look {
        self.look_over(UnixStream::connect(socket)).await
    }

    async fn look_over<T: Wire>(&self, connecting: impl Future<Output = io::Result<T>>) -> Look {
        let connected = AtomicBool::new(false);
        let work = async {
            let mut wire = connecting.await?;
            connected.store(true, Relaxed);
            wire.write_all(&self.preface).await?;
            Ok(match &self.tls {
                None => self.question.ask(wire).await,
                Some(handshake) => match handshake.begin(wire).await {
                    Ok(wire) => self.question.ask(wire).await,
                    Err(why) => Seen::Unreachable { detail: why.into() }.into(),
                },
            })
        };
        let lag::Watched { outcome, took, lag } = lag::within(self.timeout, work).await;
        let limit = self.timeout;
        let (seen, lag) = match outcome {
            Some(Ok(answer)) => (self.judge(answer), lag),
            // Says nothing about the peer, so it is told as weir's own lateness.
            Some(Err(error)) if connect::is_own_want(&error) => {
                (Seen::TimedOut { detail: format!("weir could not look: {}", connect::describe(&error)).into() }, limit)
            }
            Some(Err(error)) => (Seen::Unreachable { detail: connect::describe(&error).into() }, lag),
            None if connected.load(Relaxed) => {
                (Seen::TimedOut { detail: format!("no answer within {limit:?}").into() }, lag)
            }
            None => (Seen::TimedOut { detail: format!("no connection within {limit:?}").into() }, lag),
        };
        Look { seen, took, lag }
    }

    /// An application that says 503 and closes may be shutting down on purpose; one that always closes says nothing
    /// by it.
    fn judge(&self, answer: Answer) -> Seen {
        match answer.connection {
            Some(Connection { kept: false, unavailable: true }) if self.keeps.load(Relaxed) => Seen::DrainingItself,
            Some(Connection { kept, unavailable: false }) => {
                self.keeps.store(kept, Relaxed);
                answer.seen
            }
            _ => answer.seen,
        }
    }
}

/// What is asked over the connection.
#[derive(Debug)]
enum Question {
    Http(http::Question),
    Tcp,
    Grpc(grpc::Question),
}

impl Question {
    async fn ask(&self, wire: impl Wire) -> Answer {
        match self {
            Question::Http(question) => question.ask(wire).await,
            // The connection was accepted: nothing more was asked.
            Question::Tcp => Seen::Pass.into(),
            Question::Grpc(question) => question.ask(wire).await.into(),
        }
    }
}

/// A connected stream of bytes.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Wire for T {}

/// What came back over the connection.
#[derive(Debug)]
struct Answer {
    seen: Seen,
    connection: Option<Connection>,
}

/// What an HTTP answer says about its connection.
#[derive(Debug)]
struct Connection {
    /// Another request could follow on it.
    kept: bool,
    /// The status was 503.
    unavailable: bool,
}

impl From<Seen> for Answer {
    fn from(seen: Seen) -> Answer {
        Answer { seen, connection: None }
    }
}

#[cfg(test)]
mod tests;
