//! Who is asked, and how? The checked form of `[upstream.NAME]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::health_check::HealthCheck;
use super::peer::UpstreamServer;
use super::source::Consul;
use super::sticky::Sticky;
use crate::balancer::Method;
use crate::config::template::Template;
use crate::health::outlier::Rule;
use crate::proxy_protocol;
use crate::tls::Connector;

/// `[upstream.NAME]`: a group of peers.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The name in the table's header; for an implicit group the `host:port` of its `proxy_pass`.
    pub name: Arc<str>,
    /// True for the group that a `proxy_pass` to a plain address makes.
    pub implicit: bool,
    /// `balance`.
    pub method: Method,
    /// The key of `balance = "hash KEY"`.
    pub key: Option<Template>,
    /// `servers`, at least one that is not a backup unless there is another source.
    pub servers: Vec<UpstreamServer>,
    /// `servers_file`: more servers, in a file of their own that is watched.
    pub servers_file: Option<PathBuf>,
    /// `docker`: whether containers may join by their labels.
    pub docker: bool,
    /// `consul`.
    pub consul: Option<Consul>,
    /// `keepalive`: idle connections per peer and worker; 0 is off.
    pub keepalive: usize,
    /// `keepalive_timeout`: how long a connection may be idle.
    pub keepalive_timeout: Duration,
    /// `keepalive_requests`: how many requests one connection serves.
    pub keepalive_requests: u64,
    /// `keepalive_time`: how old a connection may get.
    pub keepalive_time: Duration,
    /// `proxy_protocol`: every connection to a peer begins with a PROXY header that names the client; `None`: `off`. Such
    /// connections are not kept: `keepalive` is 0.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// `queue`.
    pub queue: Option<Queue>,
    /// `[upstream.NAME.health_check]`.
    pub health_check: Option<HealthCheck>,
    /// `warmup`: what a peer is asked before it is admitted, request targets.
    pub warmup: Vec<String>,
    /// `max_ejected`, a percentage: how much of a tier soft failures may eject.
    pub max_ejected: u8,
    /// `when_all_fail = "last_resort"`: peers whose `/health` says no are tried when nobody else is left.
    pub try_when_all_fail: bool,
    /// `retry_budget`.
    pub retry_budget: RetryBudget,
    /// `outliers`; `None`: peers are not compared.
    pub outliers: Option<Outliers>,
    /// `[upstream.NAME.tls]`, or its defaults where a `proxy_pass` says `https`; `None`: plain connections.
    pub tls: Option<Arc<Connector>>,
    /// `sticky`.
    pub sticky: Option<Sticky>,
}

impl Upstream {
    /// Whether somebody beside the file finds servers for it.
    pub fn asks_sources(&self) -> bool {
        self.servers_file.is_some() || self.docker || self.consul.is_some()
    }
}

/// How many retries a group may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Percent of the requests of the last 10 s.
    pub percent: u8,
    /// Always allowed, per second.
    pub min_per_second: u32,
}

/// `outliers = { … }`: who is taken out for standing out among its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// `interval`: how long requests are counted before they are compared.
    pub interval: Duration,
    /// What stands out.
    pub rule: Rule,
}

/// `queue = { size, timeout }`: where a request waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait.
    pub size: usize,
    /// How long.
    pub timeout: Duration,
}
