//! What is passed on as it is, without HTTP? The checked form of `[[stream]]`.

use std::time::Duration;

use super::proxy::NextUpstream;
use super::server::Listen;

/// `[[stream]]`: connections of TCP, or datagrams of UDP, go to a group as they come. (nginx: the `stream` module.)
#[derive(Clone, Debug, PartialEq)]
pub struct StreamServer {
    /// `listen`, at least one; none of a `[[server]]`.
    pub listen: Vec<Listen>,
    /// Index into [`Config::upstreams`](super::Config::upstreams).
    pub upstream: usize,
    /// How its sessions are served.
    pub proxy: StreamSettings,
}

/// The settings of a `[[stream]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// `proxy_connect_timeout`.
    pub connect_timeout: Duration,
    /// `proxy_timeout`: a session in which nobody said anything for so long is over.
    pub timeout: Duration,
    /// `proxy_next_upstream`, of which `error` and `timeout` have a meaning here: of connects.
    pub next_upstream: NextUpstream,
    /// `proxy_next_upstream_tries`: attempts in all; 0: four, or as many as there are
    /// peers, and besides them up to eight whose connect failed.
    pub next_upstream_tries: u32,
    /// `proxy_next_upstream_timeout`: no retry later than this after the first attempt; zero: no limit.
    pub next_upstream_timeout: Duration,
    /// `proxy_responses` (UDP): datagrams that answer one of the client's; `None`: any number.
    pub responses: Option<u64>,
    /// `proxy_requests` (UDP): datagrams of a client after which its next one begins another session; 0: any number.
    pub requests: u64,
    /// `max_sessions` (UDP): clients that one worker remembers at once.
    pub max_sessions: usize,
}
