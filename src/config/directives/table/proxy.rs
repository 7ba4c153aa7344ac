//! Towards backends: what stands at the top, in a server or in a location, and is inherited.

use super::Fallback::Is;
use super::Kind::{Choice, Number, Own, Size, Time};
use super::Place::{self, Location, Stream, Top};
use super::{Directive, EVERYWHERE, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

const CONNECTS: &[Place] = &[Top, Place::Server, Location, Stream];

pub(super) const TABLE: &[Directive] = &[
    at(
        EVERYWHERE,
        "proxy_http_version",
        Choice(&["1.1", "2"]),
        Is("\"1.1\""),
        "how peers are spoken to, unless `proxy_pass` says it; 2: many requests share a connection",
    ),
    at(CONNECTS, "proxy_connect_timeout", Time(Ms, 1), Is("\"5s\""), "how long connecting to a peer may take"),
    at(
        EVERYWHERE,
        "proxy_send_timeout",
        Time(Ms, 1),
        Is("\"60s\""),
        "how long a peer may not read, between two writes",
    ),
    at(
        EVERYWHERE,
        "proxy_read_timeout",
        Time(Ms, 1),
        Is("\"60s\""),
        "how long a peer may be silent, before its answer and within it",
    ),
    at(
        CONNECTS,
        "proxy_next_upstream",
        Own(
            "`\"off\"`, or words: `error`, `timeout`, `invalid_header`, `http_403`, `http_404`, `http_429`, `http_500`, `http_502`, `http_503`, `http_504`, `grpc_cancelled`, `grpc_deadline_exceeded`, `grpc_resource_exhausted`, `grpc_internal`, `grpc_unavailable`, `non_idempotent`",
        ),
        Is("\"error timeout\""),
        "which failures are tried again on another peer",
    ),
    at(
        CONNECTS,
        "proxy_next_upstream_tries",
        Number(0, 100),
        Is("0"),
        "attempts in all; 0: four, and besides them up to eight whose connect failed; never two at one peer",
    ),
    at(
        CONNECTS,
        "proxy_next_upstream_timeout",
        Time(Ms, 0),
        Is("\"0s\""),
        "no new attempt later than this after the first; 0s: no limit",
    ),
    at(
        EVERYWHERE,
        "hedge_after",
        Own("a time, `\"100ms\"`; a percentile of the group's own times, `\"p50\"` to `\"p99\"`; or `\"off\"`"),
        Is("\"off\""),
        "how long a GET or HEAD waits for one peer before another is asked as well",
    ),
    at(
        EVERYWHERE,
        "proxy_set_header",
        Own("a table of templates: `{ X-User = \"$remote_user\" }`"),
        Is("{}"),
        "fields of the request to the peer; an empty value removes one; a level that has this table inherits none",
    ),
    at(
        EVERYWHERE,
        "proxy_hide_header",
        Own("a list of names"),
        Is("[]"),
        "fields of the peer's answer that are not passed on; a level that has this list inherits none",
    ),
    at(
        EVERYWHERE,
        "proxy_max_response_header_size",
        Size(1 << 10, 16 << 20),
        Is("\"64k\""),
        "the largest head of an answer; larger: 502",
    ),
    at(
        EVERYWHERE,
        "add_header",
        Own("a table of templates: `{ X-Served-By = \"weir\" }`"),
        Is("{}"),
        "fields put on the answer; a level that has this table inherits none",
    ),
    at(EVERYWHERE, "tunnel_timeout", Time(Ms, 1), Is("\"1h\""), "how long a WebSocket or another tunnel may be silent"),
];
