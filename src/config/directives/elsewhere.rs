//! What might somebody write who comes from nginx, and what should they write here?

use super::Place::{self, *};

const EVERYWHERE: &[Place] = &[Top, Place::Server, Location];

/// What stands in an nginx file (or in weir's plans) and not here, and what to do about it. The first entry whose key
/// (or its beginning, if it ends with `*`) fits is used.
pub const ELSEWHERE: &[(&[Place], &str, &str)] = &[
    (&[Top], "stream", "layer 4 (`[[stream]]`) is not supported yet"),
    (
        &[Upstream],
        "sticky",
        "sticky sessions are not supported yet; `balance = \"ip_hash\"` or `\"hash $cookie_NAME consistent\"` keep a client on one peer",
    ),
    (&[Upstream], "zone", "remove it: what is known of peers is always shared by all workers"),
    (&[Upstream], "resolver", "it stands at the top of the file"),
    (&[Upstream], "state", "keeping the list of servers in a file is not supported yet"),
    (&[Upstream], "least_conn", "write `balance = \"least_conn\"`"),
    (&[Upstream], "ip_hash", "write `balance = \"ip_hash\"`"),
    (&[Upstream], "hash", "write `balance = \"hash KEY\"` or `\"hash KEY consistent\"`"),
    (&[Upstream], "random", "write `balance = \"random\"` or `\"random two least_conn\"`"),
    (&[Upstream], "least_time", "write `balance = \"least_time header\"` or `\"least_time last_byte\"`"),
    (&[Upstream], "server", "the key is `servers`, a list: `servers = [\"app1:5000\", \"app2:5000\"]`"),
    (&[Upstream], "ntlm", "connections bound to a client are not supported"),
    (&[Peer], "resolve", "remove it: names are always resolved at run time"),
    (&[Peer], "service", "SRV records are not supported yet"),
    (&[Peer], "route", "sticky sessions are not supported yet"),
    (&[Listen], "tls", "TLS is not supported yet"),
    (&[Listen], "ssl", "TLS is not supported yet"),
    (&[Listen], "h2c", "HTTP/2 is not supported yet"),
    (&[Listen], "http2", "HTTP/2 is not supported yet"),
    (&[Listen], "proxy_protocol", "the PROXY protocol is not supported yet"),
    (&[Listen], "reuseport", "remove it: every worker always has its own sockets"),
    (EVERYWHERE, "ssl*", "TLS is not supported yet"),
    (EVERYWHERE, "tls*", "TLS is not supported yet"),
    (EVERYWHERE, "proxy_ssl*", "TLS towards backends is not supported yet"),
    (EVERYWHERE, "proxy_protocol", "the PROXY protocol is not supported yet"),
    (EVERYWHERE, "http2", "HTTP/2 is not supported yet"),
    (EVERYWHERE, "proxy_http_version", "remove it: backends are always spoken to in HTTP/1.1 with keep-alive"),
    (EVERYWHERE, "proxy_buffering", "remove it: answers are streamed as they come, with back-pressure"),
    (
        EVERYWHERE,
        "proxy_request_buffering",
        "write `client_body_buffer_size`: that much of a body is gathered, the rest is streamed",
    ),
    (EVERYWHERE, "proxy_buffer_size", "the head of an answer is limited by `proxy_max_response_header_size`"),
    (EVERYWHERE, "proxy_buffers", "remove it: answers are streamed with a bounded buffer"),
    (EVERYWHERE, "proxy_cache*", "weir does not cache"),
    (EVERYWHERE, "proxy_redirect", "rewriting Location is not supported yet"),
    (
        EVERYWHERE,
        "large_client_header_buffers",
        "the head of a request is limited by `client_max_header_size` and `client_max_uri_size`",
    ),
    (
        EVERYWHERE,
        "client_header_buffer_size",
        "the head of a request is limited by `client_max_header_size` and `client_max_uri_size`",
    ),
    (EVERYWHERE, "set_real_ip_from", "write `trusted_proxies` at the top of the file"),
    (EVERYWHERE, "real_ip_header", "write `trusted_proxies` at the top of the file"),
    (EVERYWHERE, "resolver_timeout", "remove it: an old answer is used for as long as the resolver is silent"),
    (EVERYWHERE, "worker_processes", "the key is `workers`, at the top of the file"),
    (EVERYWHERE, "root", "weir serves no files"),
    (EVERYWHERE, "try_files", "weir serves no files"),
    (EVERYWHERE, "rewrite", "rewriting is not supported; a path in `proxy_pass` replaces the matched prefix"),
    (EVERYWHERE, "return", "fixed answers are not supported yet"),
    (EVERYWHERE, "health_check", "it stands in the upstream: [upstream.NAME.health_check]"),
    (&[HealthCheck], "mandatory", "remove it: a peer gets no requests before its first passed probe"),
    (&[HealthCheck], "persistent", "remove it: a reload keeps what is known of a peer"),
    (&[HealthCheck], "keepalive_time", "remove it: each probe opens a connection of its own"),
    (&[Match], "require", "tests on variables are not supported"),
];
