//! What is told when a request is over?

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::template::Variable;
use crate::endpoint::{ClientAddr, Endpoint};

/// A request is over: one for each, emitted where it ends. It borrows from the request, and a reader takes what it
/// needs at once, so that emitting one allocates nothing. Access log, metrics and dashboard cannot disagree.
#[derive(Clone, Copy)]
pub struct RequestDone<'a> {
    /// The calendar's time at the end.
    pub at: SystemTime,
    /// Serial number of the client's connection.
    pub connection: u64,
    /// The client, after `trusted_proxies`.
    pub client: ClientAddr,
    /// The user of Basic credentials; empty: none.
    pub remote_user: &'a [u8],
    /// As it came; empty if no request line was understood.
    pub method: &'a [u8],
    /// As it came, with its arguments.
    pub target: &'a [u8],
    /// `HTTP/1.1`; empty if no request line was understood.
    pub protocol: &'a str,
    /// From the target or the Host field, without port; empty: none.
    pub host: &'a [u8],
    /// The request's Referer; empty: none.
    pub referer: &'a [u8],
    /// The request's User-Agent; empty: none.
    pub user_agent: &'a [u8],
    /// 32 hexadecimal digits; empty: none was needed.
    pub request_id: &'a str,
    /// What the client was answered; 499: it left before.
    pub status: u16,
    /// Bytes of the request, head and body.
    pub request_length: u64,
    /// Bytes of the answer, head and body.
    pub bytes_sent: u64,
    /// Bytes of the answer's body.
    pub body_bytes_sent: u64,
    /// From the request's first byte to its end.
    pub request_time: Duration,
    /// In the group's queue; `None`: it did not wait.
    pub queue_time: Option<Duration>,
    /// The name of the group; `None`: no route.
    pub group: Option<&'a str>,
    /// Who was asked, in order.
    pub attempts: &'a [Attempt],
    /// Why there was no further attempt after a failed one; `None`: the last one did not fail.
    pub why: Option<Why>,
    /// What became of the binding of its client; `None`: the group binds nobody, or nobody answered.
    pub sticky: Option<Sticky>,
    /// What `limit_req` said; `None`: nothing limited it.
    pub limit_req: Option<Limited>,
    /// What `limit_conn` said; `None`: nothing limited it.
    pub limit_conn: Option<Limited>,
    /// What a template may ask beyond all that.
    pub variables: &'a dyn Variables,
}

/// Values of the request that only a `log_format` of the user's asks for (`$http_NAME`, `$arg_NAME`, `$uri`…).
pub trait Variables {
    /// Appends the value, unescaped; false if there is none.
    fn append(&self, variable: &Variable, out: &mut Vec<u8>) -> bool;
}

/// For a request of which nothing more is known.
#[derive(Clone, Copy, Debug)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn append(&self, _variable: &Variable, _out: &mut Vec<u8>) -> bool {
        false
    }
}

/// One peer was asked, or nobody could be: then there is an entry in the group's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The peer's name (the replica's own if known, else the `server` as written), or the group's if no peer could be chosen.
    pub peer: Arc<str>,
    /// Where it is; `None`: no peer could be chosen.
    pub addr: Option<Endpoint>,
    /// How it ended.
    pub answer: Answer,
    /// Until the connection stood, TLS included; `None`: never. Zero for a pooled one.
    pub connect_time: Option<Duration>,
    /// Until the whole head; `None`: never.
    pub header_time: Option<Duration>,
    /// Until its end.
    pub response_time: Duration,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With an answer of this status (which may still have been a reason to ask elsewhere).
    Status(u16),
    /// Without a whole head.
    Failed(Failure),
    /// With a head of this status, whose body was cut short.
    Cut(u16),
    /// Not at all: the client left, or somebody else was faster.
    None,
}

impl Answer {
    /// What `$upstream_status` says of it; `None` is written `-`.
    pub fn status(self) -> Option<u16> {
        match self {
            Answer::Status(status) | Answer::Cut(status) => Some(status),
            Answer::Failed(failure) => Some(failure.status()),
            Answer::None => None,
        }
    }

    /// A short name of what went wrong, if anything did.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Answer::Failed(failure) => Some(failure.as_str()),
            Answer::Cut(_) => Some("cut_body"),
            Answer::Status(_) | Answer::None => None,
        }
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody could be chosen: all are unavailable or full.
    NoPeer,
    /// Refused, unreachable.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The handshake failed.
    Tls,
    /// The request could not be written.
    Send,
    /// The request could not be written in time.
    SendTimeout,
    /// Closed or reset before the whole head.
    Closed,
    /// No whole head in time.
    ReadTimeout,
    /// What came was not HTTP, or too large.
    Malformed,
    /// The peer went unhealthy meanwhile, so the attempt was given up.
    Abandoned,
    /// The peer said that it did nothing of the request (HTTP/2: REFUSED_STREAM, or GOAWAY before it).
    Refused,
    /// The peer does not offer extended CONNECT (RFC 8441), which the request needs.
    NoConnect,
    /// Too many requests wait for a connection to the peer.
    Busy,
}

impl Failure {
    /// The status that stands for it in `$upstream_status`: 504 for lateness, 503 for nobody or too many, else 502.
    pub fn status(self) -> u16 {
        match self {
            Failure::ConnectTimeout | Failure::SendTimeout | Failure::ReadTimeout => 504,
            Failure::NoPeer | Failure::Busy => 503,
            _ => 502,
        }
    }

    /// A short name, for the JSON log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::NoPeer => "no_peer",
            Failure::Connect => "connect",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Tls => "tls",
            Failure::Send => "send",
            Failure::SendTimeout => "send_timeout",
            Failure::Closed => "closed",
            Failure::ReadTimeout => "read_timeout",
            Failure::Malformed => "malformed",
            Failure::Abandoned => "abandoned",
            Failure::Refused => "refused",
            Failure::NoConnect => "no_extended_connect",
            Failure::Busy => "busy",
        }
    }
}

/// Why a failed attempt was the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// `proxy_next_upstream` does not name this failure.
    NotNamed,
    /// `proxy_next_upstream_tries` is used up.
    OutOfTries,
    /// `proxy_next_upstream_timeout` has passed.
    OutOfTime,
    /// The group's retry budget is used up.
    OutOfBudget,
    /// Everybody was tried, or nobody else is available.
    NobodyElse,
    /// The method is not idempotent and bytes of the request were sent.
    NotSafeToRepeat,
    /// The body was too long to keep.
    BodyNotKept,
    /// The client already has a part of the answer.
    AnswerBegun,
    /// The client left.
    ClientGone,
}

impl Why {
    /// A short name, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::NotNamed => "not_named",
            Why::OutOfTries => "out_of_tries",
            Why::OutOfTime => "out_of_time",
            Why::OutOfBudget => "out_of_budget",
            Why::NobodyElse => "nobody_else",
            Why::NotSafeToRepeat => "not_safe_to_repeat",
            Why::BodyNotKept => "body_not_kept",
            Why::AnswerBegun => "answer_begun",
            Why::ClientGone => "client_gone",
        }
    }
}

/// Whether a client went to the peer that it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sticky {
    /// It did.
    Bound,
    /// It was bound to nobody, and may be now.
    New,
    /// Its peer is gone or could not be had: it went to another.
    Moved,
}

impl Sticky {
    /// A short name, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Sticky::Bound => "bound",
            Sticky::New => "new",
            Sticky::Moved => "moved",
        }
    }
}

/// What a limit said of a request. (nginx: `$limit_req_status`, `$limit_conn_status`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limited {
    /// It went on at once.
    Passed,
    /// It had to wait.
    Delayed,
    /// It was refused.
    Rejected,
    /// It would have had to wait, but for `limit_req_dry_run`.
    DelayedDryRun,
    /// It would have been refused, but for a dry run.
    RejectedDryRun,
}

impl Limited {
    /// nginx's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Limited::Passed => "PASSED",
            Limited::Delayed => "DELAYED",
            Limited::Rejected => "REJECTED",
            Limited::DelayedDryRun => "DELAYED_DRY_RUN",
            Limited::RejectedDryRun => "REJECTED_DRY_RUN",
        }
    }
}
