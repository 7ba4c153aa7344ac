//! How is a peer spoken to, and when is another one asked? The checked form of `proxy_*` and their like.

use std::time::Duration;

use crate::config::template::Template;

/// How a peer is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// `"1.1"`.
    #[default]
    Http11,
    /// `"2"`, or `h2c://` and `grpc://` in `proxy_pass`.
    Http2,
}

/// `proxy_*` keys; each may stand at the top, in a server, or in a location.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySettings {
    /// `proxy_connect_timeout`.
    pub connect_timeout: Duration,
    /// `proxy_send_timeout`: between two writes.
    pub send_timeout: Duration,
    /// `proxy_read_timeout`: between two reads, and until the head.
    pub read_timeout: Duration,
    /// `proxy_next_upstream`.
    pub next_upstream: NextUpstream,
    /// `proxy_next_upstream_tries`: attempts in all; 0: four, or as many as there are
    /// peers, and besides them up to eight whose connect failed.
    pub next_upstream_tries: u32,
    /// `proxy_next_upstream_timeout`: no retry later than this after the first attempt; zero: no limit.
    pub next_upstream_timeout: Duration,
    /// `proxy_set_header`: name and value; an empty value removes the field.
    pub set_header: Vec<(String, Template)>,
    /// `proxy_hide_header`: fields of the backend's answer that are not passed on, lower case.
    pub hide_header: Vec<String>,
    /// `proxy_max_response_header_size`: largest head of an answer, in bytes; larger: 502.
    pub max_response_head: usize,
    /// `tunnel_timeout`: idle time of an upgraded connection.
    pub tunnel_timeout: Duration,
    /// `proxy_http_version`, unless `proxy_pass` says it.
    pub http_version: HttpVersion,
    /// `hedge_after`; `None`: `off`.
    pub hedge_after: Option<HedgeAfter>,
}

/// `hedge_after`: how long one peer is waited for before another is asked as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// So long.
    Time(Duration),
    /// As long as this percentage of the group's answers took at most, lately.
    Percentile(u8),
}

/// `proxy_next_upstream`: which failures are tried elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextUpstream {
    /// `error`.
    pub error: bool,
    /// `timeout`.
    pub timeout: bool,
    /// `invalid_header`.
    pub invalid_header: bool,
    /// `http_403`, `http_404`, `http_429`, `http_500`, `http_502`, `http_503`, `http_504`, as numbers.
    pub statuses: Vec<u16>,
    /// `grpc_cancelled`, `grpc_deadline_exceeded`, `grpc_resource_exhausted`, `grpc_internal`, `grpc_unavailable`, as
    /// numbers.
    pub grpc: Vec<u8>,
    /// `non_idempotent`.
    pub non_idempotent: bool,
}
