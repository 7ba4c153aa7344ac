//! How fast does a peer answer? (nginx: `ngx_http_upstream_least_time_module.c`)

/// Which time `least_time` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Until the head of the answer.
    Header,
    /// Until its last byte.
    LastByte,
}

/// The moving averages of one peer, shared by all workers.
#[derive(Debug, Default)]
pub struct Latency {}
