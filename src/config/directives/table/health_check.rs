//! `[upstream.NAME.health_check]`, and `match` in it.

use super::Fallback::{Is, Unset};
use super::Kind::{Choice, Number, Own, Text, Time};
use super::Place::{HealthCheck, Match};
use super::{Directive, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

pub(super) const TABLE: &[Directive] = &[
    at(
        &[HealthCheck],
        "type",
        Choice(&["http", "tcp", "grpc"]),
        Is("\"http\""),
        "GET `uri`, or only connect, or the gRPC health protocol",
    ),
    at(&[HealthCheck], "uri", Own("a request target that begins with `/`"), Is("\"/\""), "what is asked for"),
    at(&[HealthCheck], "interval", Time(Ms, 10), Is("\"5s\""), "from the start of a probe to the start of the next"),
    at(&[HealthCheck], "jitter", Time(Ms, 0), Is("\"0s\""), "each probe is delayed by a random time below this"),
    at(&[HealthCheck], "timeout", Time(Ms, 1), Is("\"1s\""), "how long a whole probe may take"),
    at(&[HealthCheck], "fails", Number(1, 1_000), Is("3"), "failed probes in a row that make a peer unhealthy"),
    at(&[HealthCheck], "passes", Number(1, 1_000), Is("2"), "passed probes in a row that make it healthy again"),
    at(&[HealthCheck], "port", Number(1, 65_535), Unset("the peer's own"), "the port that is probed"),
    at(&[HealthCheck], "host", Text, Unset("the peer's address as written"), "the Host field of probes"),
    at(
        &[HealthCheck],
        "match",
        Own("a table: `[upstream.NAME.health_check.match]`"),
        Unset("any status from 200 to 399"),
        "what an answer must be like",
    ),
    at(&[HealthCheck], "grpc_service", Text, Is("\"\""), "the service to ask about; empty: the server as a whole"),
    at(
        &[HealthCheck],
        "grpc_status",
        Number(1, 16),
        Unset("the protocol must answer SERVING"),
        "a gRPC status that is healthy too; 12: it has no health protocol",
    ),
    //
    at(
        &[Match],
        "status",
        Own("`200`, `\"200-399\"`, `\"200 301-302\"`, `\"! 500-599\"`"),
        Unset("any status"),
        "the status of the answer",
    ),
    at(
        &[Match],
        "headers",
        Own(
            "a table: `{ content-type = \"text/html\" }`; a value, `\"!= VALUE\"`, `\"~ REGEX\"`, `\"!~ REGEX\"`, `true` (present), `false` (absent)",
        ),
        Is("{}"),
        "tests on fields of the answer",
    ),
    at(
        &[Match],
        "body",
        Own("`\"~ REGEX\"` or `\"!~ REGEX\"`"),
        Unset("any body"),
        "a test on the first 256 KiB of the body",
    ),
    at(
        &[Match],
        "json",
        Own("`\"PATH == VALUE\"` or a list of such tests: `\"status == ok\"`, `\"checks[*].ms < 100\"`"),
        Unset("any body"),
        "tests on a body of JSON; also `!=`, `<`, `<=`, `>`, `>=`, `~`, `!~`, `PATH` (present), `! PATH` (absent)",
    ),
];
