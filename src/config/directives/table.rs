//! The table itself.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Choice, Number, Own, Percent, Size, Switch, Text, Time};
use super::Place::{self, *};
use super::{Directive, Fallback, Kind};
use crate::config::units::TimeUnit::{Milliseconds as Ms, Seconds};

const U32: u64 = u32::MAX as u64;
const GIB: u64 = 1 << 30;
const EVERYWHERE: &[Place] = &[Top, Place::Server, Location];
const CLIENT: &[Place] = &[Top, Place::Server];

/// Every setting of weir, in the order in which the documentation shows them.
pub const DIRECTIVES: &[Directive] = &[
    at(
        &[Top],
        "workers",
        Own("`\"auto\"` or a number, 1 to 1024"),
        Is("\"auto\""),
        "worker threads; auto: one per core that the process may use",
    ),
    at(
        &[Top],
        "access_log",
        Own("`\"stdout\"`, `\"stderr\"`, `\"off\"` or a file"),
        Is("\"stdout\""),
        "where the access log goes",
    ),
    at(
        &[Top],
        "log_format",
        Own("`\"combined\"`, `\"json\"` or a template"),
        Is("\"combined\""),
        "how a line of the access log looks",
    ),
    at(&[Top], "shutdown_timeout", Time(Ms, 0), Is("\"30s\""), "how long requests in flight may take after SIGTERM"),
    at(
        &[Top],
        "trusted_proxies",
        Own("a list of networks: `\"10.0.0.0/8\"`"),
        Is("[]"),
        "whose X-Forwarded-For, -Proto, … are believed",
    ),
    at(
        &[Top],
        "resolver",
        Own("a list of DNS servers: `\"10.0.0.2\"`, `\"10.0.0.2:5353\"`"),
        Is("[]"),
        "who is asked for names; none: those of /etc/resolv.conf",
    ),
    at(
        &[Top],
        "resolver_valid",
        Time(Ms, 1_000),
        Unset("the TTL of the answer, at most 5s; 1s with Docker's resolver"),
        "how long an answer of the resolver is used",
    ),
    at(&[Top], "upstream", Own("tables: `[upstream.NAME]`"), Unset("none"), "groups of peers"),
    at(
        &[Top],
        "server",
        Own("tables: `[[server]]`"),
        Unset("with one upstream alone: listens on 80 and proxies all to it"),
        "virtual hosts",
    ),
    at(
        &[Top],
        "admin",
        Own("a table: `[admin]`"),
        Unset("a unix socket, see `listen` there"),
        "the listener of the admin API",
    ),
    //
    at(
        &[Upstream],
        "servers",
        Own("a list of addresses, or of tables with parameters"),
        Required,
        "the peers: `\"app:5000\"` or `{ address = \"app:5000\", weight = 2 }`",
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
        "health_check",
        Own("a table: `[upstream.NAME.health_check]`"),
        Unset("no probes"),
        "active health checks",
    ),
    //
    at(
        &[Peer],
        "address",
        Own("`\"HOST:PORT\"`; without a port 80"),
        Required,
        "where the peer is; each address of a name is a peer",
    ),
    at(&[Peer], "weight", Number(1, 65_535), Is("1"), "its share of the requests"),
    at(&[Peer], "max_conns", Number(0, U32), Is("0"), "requests it may process at once, over all workers; 0: no limit"),
    at(
        &[Peer],
        "max_fails",
        Number(0, 1_000_000),
        Is("1"),
        "failures within `fail_timeout` that make it unavailable; 0: never",
    ),
    at(
        &[Peer],
        "fail_timeout",
        Time(Seconds, 0),
        Is("\"10s\""),
        "the window of `max_fails`, and how long it is unavailable",
    ),
    at(
        &[Peer],
        "slow_start",
        Time(Seconds, 0),
        Is("\"0s\""),
        "how long it ramps up to its weight after a recovery; 0s: at once",
    ),
    at(&[Peer], "backup", Switch, Is("false"), "gets requests only when the others cannot"),
    at(&[Peer], "down", Switch, Is("false"), "gets no requests"),
    at(&[Peer], "drain", Switch, Is("false"), "gets only requests that are bound to it"),
    //
    at(&[Queue], "size", Number(1, 1_000_000), Required, "how many requests may wait"),
    at(&[Queue], "timeout", Time(Ms, 1), Is("\"60s\""), "how long one may wait"),
    at(&[RetryBudget], "percent", Number(0, 100), Is("20"), "percent of the requests of the last 10 s"),
    at(&[RetryBudget], "min_per_second", Number(0, 1_000_000), Is("10"), "retries that are always allowed, per second"),
    //
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
    //
    at(
        &[Place::Server],
        "listen",
        Own("`80`, `\"127.0.0.1:8080\"`, `\":8080\"`, `\"[::1]:80\"`, a table, or a list of these"),
        Required,
        "where clients connect; a number is a port on every IPv4 address",
    ),
    at(
        &[Place::Server],
        "server_name",
        Own("a name or a list: `\"example.com\"`, `\"*.example.org\"`, `\"www.example.*\"`"),
        Is("[]"),
        "the Host names it answers for; none: any",
    ),
    at(&[Place::Server], "location", Own("tables: `[[server.location]]`"), Required, "which path goes where"),
    at(&[Listen], "address", Own("as `listen` itself"), Required, "where clients connect"),
    at(
        &[Listen],
        "default_server",
        Switch,
        Is("false"),
        "answers for names that no server of this address has; else the first one does",
    ),
    //
    at(
        &[Location],
        "path",
        Own("`\"/x/\"`, or `{ exact = \"/x\" }`"),
        Required,
        "the longest prefix wins; an exact path comes before any prefix",
    ),
    at(&[Path], "exact", Own("a path that begins with `/`"), Required, "this path alone"),
    at(
        &[Location],
        "proxy_pass",
        Own("`\"http://NAME\"`, `\"http://HOST:PORT\"`, either with a path that replaces the prefix"),
        Required,
        "the upstream, or one application by its address",
    ),
    //
    at(EVERYWHERE, "proxy_connect_timeout", Time(Ms, 1), Is("\"5s\""), "how long connecting to a peer may take"),
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
        EVERYWHERE,
        "proxy_next_upstream",
        Own(
            "`\"off\"`, or words: `error`, `timeout`, `invalid_header`, `http_403`, `http_404`, `http_429`, `http_500`, `http_502`, `http_503`, `http_504`, `non_idempotent`",
        ),
        Is("\"error timeout\""),
        "which failures are tried again on another peer",
    ),
    at(
        EVERYWHERE,
        "proxy_next_upstream_tries",
        Number(0, 100),
        Is("0"),
        "attempts in all; 0: three, or as many as there are peers",
    ),
    at(
        EVERYWHERE,
        "proxy_next_upstream_timeout",
        Time(Ms, 0),
        Is("\"0s\""),
        "no new attempt later than this after the first; 0s: no limit",
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
    //
    at(
        CLIENT,
        "client_max_body_size",
        Size(0, 1 << 40),
        Is("\"1m\""),
        "the largest body of a request; larger: 413; 0: no limit",
    ),
    at(
        CLIENT,
        "client_body_buffer_size",
        Size(0, GIB),
        Is("\"64k\""),
        "how much of a body is gathered before a peer is chosen, and kept for a retry",
    ),
    at(
        CLIENT,
        "client_max_header_size",
        Size(1 << 10, 16 << 20),
        Is("\"32k\""),
        "the largest head of a request; larger: 431",
    ),
    at(CLIENT, "client_max_uri_size", Size(1 << 6, 16 << 20), Is("\"8k\""), "the longest request target; longer: 414"),
    at(
        CLIENT,
        "client_header_timeout",
        Time(Ms, 1),
        Is("\"60s\""),
        "from a request's first byte to the end of its head",
    ),
    at(CLIENT, "client_body_timeout", Time(Ms, 1), Is("\"60s\""), "between two reads of a body"),
    at(CLIENT, "send_timeout", Time(Ms, 1), Is("\"60s\""), "between two writes to the client"),
    at(
        CLIENT,
        "keepalive_timeout",
        Time(Ms, 0),
        Is("\"75s\""),
        "how long a client's connection may be idle; 0s: it is closed after each answer",
    ),
    at(CLIENT, "keepalive_requests", Number(1, U32), Is("1000"), "requests that one connection of a client serves"),
    //
    at(
        &[Admin],
        "listen",
        Own("`\"unix:/PATH\"`, `\"127.0.0.1:9000\"` or `\"off\"`"),
        Unset("`$XDG_RUNTIME_DIR/weir.sock`, else `/run/weir/weir.sock`, else `/tmp/weir-UID/weir.sock`"),
        "where the admin API listens",
    ),
    at(
        &[Admin],
        "token",
        Text,
        Unset("on TCP the API can only be read"),
        "what a client of the admin API must know to change something over TCP",
    ),
];

const fn at(
    places: &'static [Place],
    key: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
) -> Directive {
    Directive { key, places, kind, default, doc }
}
