//! What may a client send, and how long may it take? The checked form of `client_*` and their like.

use std::time::Duration;

/// Limits towards clients; each may stand at the top or in a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// `client_max_body_size`; 0 is unlimited.
    pub max_body_size: u64,
    /// `client_body_buffer_size`: gathered before a peer is chosen, and kept for a retry.
    pub body_buffer_size: usize,
    /// `client_max_header_size`: the whole head of a request, in bytes; larger: 431.
    pub max_head_size: usize,
    /// `client_max_uri_size`: the request target, in bytes; larger: 414.
    pub max_target_size: usize,
    /// `client_header_timeout`: from a request's first byte to its whole head.
    pub header_timeout: Duration,
    /// `client_body_timeout`: between two reads of a body.
    pub body_timeout: Duration,
    /// `send_timeout`: between two writes to the client.
    pub send_timeout: Duration,
    /// `keepalive_timeout`: idle between two requests, and before the first.
    pub keepalive_timeout: Duration,
    /// `keepalive_requests` of one connection.
    pub keepalive_requests: u64,
    /// `http2_max_concurrent_streams` of one connection.
    pub http2_max_concurrent_streams: u32,
}
