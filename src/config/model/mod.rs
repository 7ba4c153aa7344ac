//! What the user asked for, checked: every value is in range, every reference leads somewhere.
//!
//! A file for each table of `upstream.toml`, as in `directives/table/`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::template::Template;
use crate::config::trusted_proxies::TrustedProxies;

mod admin;
mod client;
mod health_check;
mod limits;
mod location;
mod peer;
mod proxy;
mod returns;
mod server;
mod shares;
mod source;
mod sticky;
mod stream;
mod upstream;

pub use admin::{Admin, AdminListen};
pub use client::ClientLimits;
pub use health_check::{BodyTest, CheckKind, Expect, HeaderTest, HealthCheck, StatusSet, ValueTest};
pub use limits::{LimitConn, LimitConnZone, LimitReq, LimitReqZone, Limits, LogLevel};
pub use location::{Location, PathMatch};
pub use peer::{Address, UpstreamServer};
pub use proxy::{HedgeAfter, HttpVersion, NextUpstream, ProxySettings};
pub use returns::Return;
pub use server::{Listen, Server, ServerName};
pub use shares::{Mirror, Share, Split};
pub use source::Consul;
pub use sticky::{Learn, Sticky, StickyCookie};
pub use stream::{StreamServer, StreamSettings};
pub use upstream::{Outliers, Queue, RetryBudget, Upstream};

/// A whole checked `upstream.toml`. `Topology::build` of it cannot fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `workers`: `None` is `"auto"`, one per core that the process may use.
    pub workers: Option<usize>,
    /// `access_log`.
    pub access_log: LogTarget,
    /// `log_format`.
    pub log_format: LogFormat,
    /// `shutdown_timeout`: how long in-flight requests may take after SIGTERM.
    pub shutdown_timeout: Duration,
    /// `trusted_proxies`: whose X-Forwarded-* fields are believed.
    pub trusted_proxies: TrustedProxies,
    /// `real_ip_header`: where a trusted proxy tells the client's address.
    pub real_ip_header: RealIpHeader,
    /// `resolver`: DNS servers; empty: those of /etc/resolv.conf.
    pub resolver: Vec<SocketAddr>,
    /// `resolver_valid`: overrides the TTL of answers.
    pub resolver_valid: Option<Duration>,
    /// `state_file`; `None`: what weir learns ends with the process.
    pub state_file: Option<PathBuf>,
    /// `takeover`: where a successor asks for the listening sockets; `None`: nowhere.
    pub takeover: Option<PathBuf>,
    /// `docker_socket`: where the Docker engine's API is, for upstreams with `docker = true`.
    pub docker_socket: PathBuf,
    /// `[admin]`.
    pub admin: Admin,
    /// `[upstream.NAME]`, in the order of the file, then the implicit groups of `proxy_pass` to a plain address.
    pub upstreams: Vec<Upstream>,
    /// `[[server]]`, in the order of the file.
    pub servers: Vec<Server>,
    /// `[[stream]]`, in the order of the file.
    pub streams: Vec<StreamServer>,
}

/// `real_ip_header`: where a trusted proxy tells the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RealIpHeader {
    /// `X-Forwarded-For`, from the right.
    #[default]
    XForwardedFor,
    /// `X-Real-IP`.
    XRealIp,
    /// `Forwarded` (RFC 7239), from the right.
    Forwarded,
    /// The PROXY header of the connection alone; no field is believed.
    ProxyProtocol,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `"stdout"`.
    Stdout,
    /// `"stderr"`.
    Stderr,
    /// `"off"`.
    Off,
    /// A file, appended to.
    File(PathBuf),
}

/// How a line of the access log looks.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    /// nginx's `combined`, followed by `rt= uct= uht= urt= ua= us=`.
    Combined,
    /// One JSON object per line.
    Json,
    /// A template of the user's.
    Template(Template),
}
