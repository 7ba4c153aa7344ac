//! What is a peer asked, and what must it answer? The checked form of `[upstream.NAME.health_check]`.

use std::time::Duration;

use crate::config::json_test::JsonTest;

/// `[upstream.NAME.health_check]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// `type` with what only that type has.
    pub kind: CheckKind,
    /// `interval`, from start to start.
    pub interval: Duration,
    /// `jitter`: each probe is delayed by a random time below this.
    pub jitter: Duration,
    /// `timeout` of a whole probe.
    pub timeout: Duration,
    /// `fails` in a row make a peer unhealthy.
    pub fails: u32,
    /// `passes` in a row make it healthy again.
    pub passes: u32,
    /// `port`, if not the peer's own.
    pub port: Option<u16>,
}

/// `health_check.type`.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// GET `uri`, judged by `expect`.
    Http {
        /// The request target, beginning with `/`.
        uri: String,
        /// `host`: the Host field of probes; `None`: the server's text.
        host: Option<String>,
        /// `match`.
        expect: Expect,
    },
    /// A connection that is accepted.
    Tcp,
    /// The gRPC health protocol.
    Grpc {
        /// `grpc_service`; empty: the whole server.
        service: String,
        /// `grpc_status`: also healthy when the protocol answers with this status (12: UNIMPLEMENTED).
        status: Option<u32>,
    },
}

/// `health_check.match`: all tests must hold. (nginx Plus `match` block, spec §6.2.)
#[derive(Clone, Debug)]
pub struct Expect {
    /// `status = "200-399"`, `"! 500-599"`; `None`: any status.
    pub status: Option<StatusSet>,
    /// `headers`: tests on fields.
    pub headers: Vec<HeaderTest>,
    /// `body`: a test on the first 256 KiB.
    pub body: Option<BodyTest>,
    /// `json`: tests on a body of at most 256 KiB.
    pub json: Vec<JsonTest>,
}

/// A list of status ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    /// The list says what must not come.
    pub negated: bool,
    /// Inclusive ranges.
    pub ranges: Vec<(u16, u16)>,
}

/// One test on a response field.
#[derive(Clone, Debug)]
pub struct HeaderTest {
    /// The field's name, lower case.
    pub name: String,
    /// What must hold. With several fields of that name, one that fits is enough.
    pub test: ValueTest,
}

/// What must hold for a field.
#[derive(Clone, Debug)]
pub enum ValueTest {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It has this value.
    Is(String),
    /// It is there with another value.
    IsNot(String),
    /// It matches.
    Matches(regex::bytes::Regex),
    /// It is there and does not match.
    MatchesNot(regex::bytes::Regex),
}

/// `body ~ RE` or `body !~ RE`.
#[derive(Clone, Debug)]
pub struct BodyTest {
    /// True for `!~`.
    pub negated: bool,
    /// The expression.
    pub pattern: regex::bytes::Regex,
}

impl PartialEq for Expect {
    fn eq(&self, other: &Self) -> bool {
        self.status == other.status
            && self.headers == other.headers
            && self.body == other.body
            && self.json == other.json
    }
}

impl PartialEq for HeaderTest {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.test == other.test
    }
}

impl PartialEq for ValueTest {
    fn eq(&self, other: &Self) -> bool {
        use ValueTest::*;
        match (self, other) {
            (Present, Present) | (Absent, Absent) => true,
            (Is(a), Is(b)) | (IsNot(a), IsNot(b)) => a == b,
            (Matches(a), Matches(b)) | (MatchesNot(a), MatchesNot(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl PartialEq for BodyTest {
    fn eq(&self, other: &Self) -> bool {
        self.negated == other.negated && self.pattern.as_str() == other.pattern.as_str()
    }
}
