//! Whom does the end of an attempt blame, and what is the client told?

use std::io;
use std::time::Duration;

use super::body::ClientEnd;
use super::reply::Reply;
use crate::config::model::{NextUpstream, ProxySettings};
use crate::health::{Detail, Outcome};
use crate::net::tls::tls_error;
use crate::proxy::retry::Cause;
use crate::telemetry::Failure;
use crate::tls;

/// An attempt that ended without a head to pass on, or in the midst of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub failure: Failure,
    /// The same in a few words of evidence.
    pub detail: Detail,
    /// It blames no peer: it is this machine's own (no ports, no descriptors), or was counted already.
    pub local: bool,
}

impl Trouble {
    /// Trouble with its words.
    pub fn new(failure: Failure, detail: impl Into<Detail>) -> Trouble {
        Trouble { failure, detail: detail.into(), local: false }
    }

    /// A failed connect.
    pub fn connect(error: &io::Error) -> Trouble {
        Trouble { failure: Failure::Connect, detail: words(error).into(), local: is_local(error) }
    }

    /// The same, blaming the peer only if `blames`.
    pub fn blames(self, blames: bool) -> Trouble {
        Trouble { local: !blames, ..self }
    }

    /// A connection that broke while it was used.
    pub fn broken(failure: Failure, error: &io::Error) -> Trouble {
        Trouble::new(failure, words(error))
    }

    /// A wait that took too long.
    pub fn late(failure: Failure, rule: &ProxySettings) -> Trouble {
        let text = match failure {
            Failure::ConnectTimeout => format!("no connection within {}", short(rule.connect_timeout)),
            Failure::SendTimeout => format!("took nothing for {}", short(rule.send_timeout)),
            _ => format!("no answer within {}", short(rule.read_timeout)),
        };
        Trouble::new(failure, text)
    }

    /// The peer was found unreachable by its health check meanwhile.
    pub fn abandoned() -> Trouble {
        Trouble::new(Failure::Abandoned, "found unreachable by its health check meanwhile")
    }

    /// As many requests as may wait for a connection to the peer: what is asked for by the next is not its failure.
    pub fn busy() -> Trouble {
        Trouble::new(Failure::Busy, "too many requests wait for a connection to it")
    }

    /// What the retry policy knows it as.
    pub fn cause(&self) -> Cause {
        match self.failure {
            Failure::Connect | Failure::Tls | Failure::NoPeer => Cause::ConnectFailed,
            Failure::ConnectTimeout => Cause::ConnectTimedOut,
            Failure::SendTimeout | Failure::ReadTimeout => Cause::TimedOut,
            Failure::Send | Failure::Closed => Cause::Broken,
            Failure::Malformed => Cause::Malformed,
            Failure::Abandoned => Cause::Abandoned,
            Failure::Refused | Failure::NoConnect | Failure::Busy => Cause::Refused,
        }
    }

    /// Whether it is how a peer ends a connection: by closing or resetting it.
    pub fn is_a_close(&self) -> bool {
        matches!(self.failure, Failure::Send | Failure::Closed)
    }

    /// What the peer's health hears: decisions on hard and soft failures.
    pub fn outcome(&self) -> Outcome {
        match self.failure {
            _ if self.local => Outcome::Neutral,
            Failure::Abandoned | Failure::NoPeer | Failure::Refused | Failure::NoConnect | Failure::Busy => {
                Outcome::Neutral
            }
            Failure::Connect | Failure::ConnectTimeout | Failure::Tls => Outcome::Hard(self.detail.clone()),
            _ => Outcome::Soft(self.detail.clone()),
        }
    }

    /// What the client is told when nothing more can be tried: 504 for lateness, 503 if too many wait, 502 for the rest.
    pub fn reply(&self) -> Reply {
        match self.failure.status() {
            504 => Reply::new(504, "the upstream server did not answer in time"),
            _ if self.failure == Failure::Malformed => Reply::new(502, "the upstream server sent an invalid answer"),
            503 => {
                Reply { retry_after: Some(Duration::from_secs(1)), ..Reply::new(503, "all upstream servers are busy") }
            }
            _ if self.failure == Failure::NoConnect => {
                Reply::new(502, "the upstream server takes no tunnels over HTTP/2")
            }
            _ if self.failure == Failure::Refused => Reply::new(502, "the upstream server refused the request"),
            _ if matches!(self.failure, Failure::Connect | Failure::Tls) => {
                Reply::new(502, "the upstream server cannot be reached")
            }
            _ => Reply::new(502, "the upstream server closed the connection without an answer"),
        }
    }
}

/// What an answer with this status says of the peer: a status that `proxy_next_upstream` names is a failure, on the
/// last try too; 403 and 404 never are.
pub fn of_status(status: u16, named: &NextUpstream) -> Outcome {
    if !matches!(status, 403 | 404) && named.statuses.contains(&status) {
        Outcome::Soft(format!("answered {status}").into())
    } else {
        Outcome::Success
    }
}

/// What an answer with this status of gRPC says of the peer, if `proxy_next_upstream` names it.
pub fn of_grpc(code: u8) -> Outcome {
    Outcome::Soft(format!("answered {}", super::grpc::name(code)).into())
}

impl ClientEnd {
    /// What the client is told; `None`: nobody is there to hear it.
    pub fn reply(self) -> Option<Reply> {
        match self {
            ClientEnd::Gone => None,
            ClientEnd::TimedOut => Some(Reply::new(408, "the request's body did not come in time")),
            ClientEnd::NoHandshake => Some(Reply::new(400, "this is no handshake of a WebSocket")),
            ClientEnd::Bad(_) => Some(Reply::new(400, "the request's body is malformed")),
            ClientEnd::TooLarge => Some(Reply::new(413, "the request's body exceeds client_max_body_size")),
        }
    }
}

/// Errors in the words that people grep for.
fn words(error: &io::Error) -> String {
    if let Some(error) = tls_error(error) {
        return format!("TLS: {}", tls::describe(error));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// Out of ports, descriptors or memory.
fn is_local(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

fn short(limit: Duration) -> String {
    format!("{limit:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_are_hard_evidence_and_what_happens_after_is_soft() {
        for (failure, hard) in [
            (Failure::Connect, true),
            (Failure::ConnectTimeout, true),
            (Failure::Tls, true),
            (Failure::Closed, false),
            (Failure::Send, false),
            (Failure::ReadTimeout, false),
            (Failure::Malformed, false),
        ] {
            let outcome = Trouble::new(failure, "x").outcome();
            assert_eq!(matches!(outcome, Outcome::Hard(_)), hard, "{failure:?}");
            assert_eq!(matches!(outcome, Outcome::Soft(_)), !hard, "{failure:?}");
        }
    }

    #[test]
    fn an_abandoned_attempt_and_our_own_shortage_blame_nobody() {
        assert_eq!(Trouble::new(Failure::Abandoned, "x").outcome(), Outcome::Neutral);
        assert_eq!(Trouble::connect(&io::Error::from_raw_os_error(24)).outcome(), Outcome::Neutral);
        assert_eq!(Trouble::connect(&io::Error::from(io::ErrorKind::AddrNotAvailable)).outcome(), Outcome::Neutral);
        let refused = Trouble::connect(&io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(refused.outcome(), Outcome::Hard("connection refused".into()));
    }

    #[test]
    fn a_named_status_is_a_failure_but_403_and_404_never_are() {
        let named = NextUpstream { statuses: vec![403, 404, 500], ..NextUpstream::default() };
        assert_eq!(of_status(500, &named), Outcome::Soft("answered 500".into()));
        for status in [200, 403, 404, 502] {
            assert_eq!(of_status(status, &named), Outcome::Success, "{status}");
        }
    }

    #[test]
    fn lateness_is_504_and_the_rest_502() {
        for (failure, status) in [
            (Failure::ConnectTimeout, 504),
            (Failure::ReadTimeout, 504),
            (Failure::SendTimeout, 504),
            (Failure::Connect, 502),
            (Failure::Closed, 502),
            (Failure::Malformed, 502),
        ] {
            assert_eq!(Trouble::new(failure, "x").reply().status, status, "{failure:?}");
        }
    }
}
