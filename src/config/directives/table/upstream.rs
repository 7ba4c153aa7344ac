//! `[upstream.NAME]`, and the small tables in it.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Choice, Number, Own, Percent, Switch, Text, Time};
use super::Place::{Outliers, Queue, RetryBudget, Upstream};
use super::{Directive, U32, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Upstream],
        "servers",
        Own("a list of addresses, or of tables with parameters"),
        Required,
        "the peers: `\"app:5000\"` or `{ address = \"app:5000\", weight = 2 }`; not needed beside the next three",
    ),
    at(
        &[Upstream],
        "servers_file",
        Text,
        Unset("none"),
        "a JSON or TOML file with more servers, watched; a relative path begins at the folder of this file",
    ),
    at(&[Upstream], "docker", Switch, Is("false"), "whether containers with the label `weir.upstream=NAME` are peers"),
    at(
        &[Upstream],
        "consul",
        Own("a table: `{ service = \"web\" }`"),
        Unset("none"),
        "peers from Consul: the passing instances of a service",
    ),
    at(
        &[Upstream],
        "balance",
        Own(
            "`\"round_robin\"`, `\"least_conn\"`, `\"ip_hash\"`, `\"hash KEY [consistent]\"`, `\"least_time header|last_byte [inflight]\"`, `\"random [two [least_conn|least_time=header|least_time=last_byte]]\"`",
        ),
        Is("\"round_robin\""),
        "which peer is next",
    ),
    at(&[Upstream], "keepalive", Number(0, 65_535), Is("32"), "idle connections kept per peer and worker; 0: none"),
    at(&[Upstream], "keepalive_timeout", Time(Ms, 0), Is("\"60s\""), "how long a connection to a peer may be idle"),
    at(&[Upstream], "keepalive_requests", Number(1, U32), Is("1000"), "requests that one connection to a peer serves"),
    at(
        &[Upstream],
        "proxy_protocol",
        Choice(&["off", "v1", "v2"]),
        Is("\"off\""),
        "each connection to a peer begins with a PROXY header that names the client, and serves that client alone",
    ),
    at(&[Upstream], "keepalive_time", Time(Ms, 1_000), Is("\"1h\""), "how old a connection to a peer may get"),
    at(
        &[Upstream],
        "queue",
        Own("a table: `{ size = 100, timeout = \"60s\" }`"),
        Unset("no queue: 503 at once"),
        "where requests wait while every peer is at its `max_conns`",
    ),
    at(
        &[Upstream],
        "warmup",
        Own("a list of request targets: `[\"/\", \"/search?q=a\"]`"),
        Is("[]"),
        "what a peer that passes its check is asked before it gets requests, while others serve; needs a `health_check`",
    ),
    at(
        &[Upstream],
        "max_ejected",
        Percent,
        Is("\"50%\""),
        "how much of the group soft failures alone may make unavailable",
    ),
    at(
        &[Upstream],
        "when_all_fail",
        Choice(&["refuse", "last_resort"]),
        Is("\"refuse\""),
        "when every application says no to its health check: 503, or try one nevertheless",
    ),
    at(
        &[Upstream],
        "retry_budget",
        Own("a table: `{ percent = 20, min_per_second = 10 }`"),
        Is("{ percent = 20, min_per_second = 10 }"),
        "how many retries the group may cost",
    ),
    at(
        &[Upstream],
        "outliers",
        Own("a table: `{ failure_share = \"50%\", latency_factor = 3 }`; `{}`: its defaults"),
        Unset("peers are not compared with each other"),
        "takes a peer out that fails more or takes longer than its peers; at most `max_ejected` of them",
    ),
    at(
        &[Upstream],
        "tls",
        Own("a table: `[upstream.NAME.tls]`"),
        Unset("its defaults, where a `proxy_pass` says `https://`; else plain connections"),
        "TLS towards the servers, of a `[[stream]]` too",
    ),
    at(
        &[Upstream],
        "sticky",
        Own("a table: `{ cookie = \"srv_id\" }`, `{ route = \"$cookie_route\" }` or `{ learn = { … } }`"),
        Unset("every request is balanced by itself"),
        "how a client comes back to the peer that served it",
    ),
    at(
        &[Upstream],
        "health_check",
        Own("a table: `[upstream.NAME.health_check]`"),
        Unset("no probes"),
        "active health checks",
    ),
    //
    at(&[Queue], "size", Number(1, 1_000_000), Required, "how many requests may wait"),
    at(&[Queue], "timeout", Time(Ms, 1), Is("\"60s\""), "how long one may wait"),
    //
    at(&[RetryBudget], "percent", Number(0, 100), Is("20"), "percent of the requests of the last 10 s"),
    at(&[RetryBudget], "min_per_second", Number(0, 1_000_000), Is("10"), "retries that are always allowed, per second"),
    //
    at(
        &[Outliers],
        "interval",
        Time(Ms, 100),
        Is("\"10s\""),
        "how long requests are counted before peers are compared",
    ),
    at(
        &[Outliers],
        "failure_share",
        Percent,
        Is("\"50%\""),
        "how much of its requests a peer fails (5xx included) that stands out, unless most peers do; 0%: does not matter",
    ),
    at(
        &[Outliers],
        "latency_factor",
        Number(0, 1_000),
        Is("3"),
        "how many times the median of its peers one takes that stands out, 20ms or more beyond it; 0: does not matter",
    ),
    at(
        &[Outliers],
        "min_requests",
        Number(1, 1_000_000),
        Is("20"),
        "a peer with fewer requests in the interval is not compared",
    ),
];
