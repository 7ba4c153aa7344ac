//! What stands at the top of the file, and there alone?

use super::Fallback::{Is, Unset};
use super::Kind::{Choice, Own, Text, Time};
use super::Place::Top;
use super::{Directive, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

pub(super) const TABLE: &[Directive] = &[
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
        Own("a list of networks: `\"10.0.0.0/8\"`; `\"unix:\"` for unix sockets"),
        Is("[]"),
        "whose X-Forwarded-For, -Proto, … are believed, and who may send PROXY headers",
    ),
    at(
        &[Top],
        "real_ip_header",
        Choice(&["X-Forwarded-For", "X-Real-IP", "Forwarded", "proxy_protocol"]),
        Is("\"X-Forwarded-For\""),
        "where a trusted proxy tells the client's address; lists are read from the right",
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
    at(
        &[Top],
        "state_file",
        Text,
        Unset("nothing outlives the process"),
        "a file that keeps what operators have changed (drain, weight, added servers) for the next start",
    ),
    at(
        &[Top],
        "takeover",
        Own("the path of a unix socket, or `\"off\"`"),
        Unset("the admin listener's socket with `.takeover` behind its name"),
        "where `weir run --takeover` asks for the listening sockets",
    ),
    at(
        &[Top],
        "docker_socket",
        Text,
        Is("\"/var/run/docker.sock\""),
        "where the Docker engine's API is, for upstreams with `docker = true`",
    ),
    at(&[Top], "upstream", Own("tables: `[upstream.NAME]`"), Unset("none"), "groups of peers"),
    at(
        &[Top],
        "server",
        Own("tables: `[[server]]`"),
        Unset("with one upstream alone: listens on 80 and proxies all to it"),
        "virtual hosts",
    ),
    at(&[Top], "stream", Own("tables: `[[stream]]`"), Unset("none"), "TCP and UDP passed on as they are, without HTTP"),
    at(
        &[Top],
        "limit_req_zone",
        Own("tables: `[limit_req_zone.NAME]`"),
        Unset("none"),
        "how fast requests of one client may come: what `limit_req` goes by",
    ),
    at(
        &[Top],
        "limit_conn_zone",
        Own("tables: `[limit_conn_zone.NAME]`"),
        Unset("none"),
        "whose requests in flight are counted: what `limit_conn` goes by",
    ),
    at(
        &[Top],
        "admin",
        Own("a table: `[admin]`"),
        Unset("a unix socket, see `listen` there"),
        "the listener of the admin API",
    ),
];
