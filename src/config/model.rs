//! What the user asked for, checked: every value is in range, every reference leads somewhere.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::json_test::JsonTest;
use super::limits::Limits;
use super::shares::{Mirror, Split};
pub use super::streams::{StreamServer, StreamSettings};
use super::template::Template;
use super::trusted_proxies::TrustedProxies;
use crate::affinity::Secret;
use crate::balancer::Method;
use crate::endpoint::Endpoint;
use crate::health::outlier::Rule;
use crate::proxy_protocol;
use crate::tls::{Acceptor, Connector};

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

/// The admin listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: `None` is `"off"`.
    pub listen: Option<AdminListen>,
    /// `token`, needed for levers on TCP.
    pub token: Option<String>,
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// A unix socket, mode 0600.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

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

/// `sticky = { … }`: by what a client comes back to the peer that served it. (nginx: `sticky`.)
#[derive(Clone, Debug, PartialEq)]
pub enum Sticky {
    /// `cookie`: weir sets one.
    Cookie(StickyCookie),
    /// `route`: the first of these that is not empty names a server's `route`.
    Route(Vec<Template>),
    /// `learn`: the application makes the sessions.
    Learn(Learn),
}

/// `sticky = { cookie = … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct StickyCookie {
    /// `cookie`: its name.
    pub name: String,
    /// `expires`; `None`: it ends with the browser's session.
    pub expires: Option<Duration>,
    /// `domain`.
    pub domain: Option<Template>,
    /// `path`; empty: the attribute is left out.
    pub path: String,
    /// `httponly`.
    pub httponly: bool,
    /// `secure`.
    pub secure: bool,
    /// `samesite`.
    pub samesite: Option<Template>,
    /// `nocache`: an answer that sets the cookie says `Cache-Control: private`.
    pub nocache: bool,
    /// `secret`; `None`: one is made up.
    pub secret: Option<Secret>,
}

impl StickyCookie {
    /// `expires = "max"`: ten years, as in nginx.
    pub const MAX: Duration = Duration::from_secs(315_360_000);
}

/// `sticky = { learn = { … } }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Learn {
    /// `create`: the first that is not empty is the session that an answer makes.
    pub create: Vec<Template>,
    /// `lookup`: the first that is not empty is the session that a request is of.
    pub lookup: Vec<Template>,
    /// `size`: how many sessions are remembered.
    pub size: usize,
    /// `timeout`: after how long without a request one is forgotten.
    pub timeout: Duration,
    /// `header`: learned when the head of the answer comes, not at its end.
    pub header: bool,
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

/// One entry of `servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// As written, after `${…}` were filled in: the peer's name in logs and on the hash ring.
    pub text: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// `weight`, at least 1.
    pub weight: u32,
    /// `max_conns`; 0 is unlimited.
    pub max_conns: u32,
    /// `max_fails`; 0: failures are not counted.
    pub max_fails: u32,
    /// `fail_timeout`.
    pub fail_timeout: Duration,
    /// `slow_start`; zero is off.
    pub slow_start: Duration,
    /// `backup`.
    pub backup: bool,
    /// `down`.
    pub down: bool,
    /// `drain`.
    pub drain: bool,
    /// `route`: what `sticky = { route = … }` knows it by.
    pub route: Option<Arc<str>>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A literal address.
    Ip(SocketAddr),
    /// `unix:/path`: a unix socket of this machine.
    Unix(Arc<Path>),
    /// A name to resolve at run time; each of its addresses is a peer.
    Name {
        /// The name, lower case.
        host: String,
        /// The port.
        port: u16,
    },
    /// SRV records to ask for at run time; each address of each target is a peer. (RFC 2782)
    Service {
        /// The whole name that is asked for, lower case: `_http._tcp.app`.
        name: String,
    },
}

/// `consul = { … }`: the passing instances of a service in Consul's catalogue.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Consul {
    /// `service`.
    pub service: String,
    /// `address`: where an agent's HTTP API is; never [`Address::Service`].
    pub address: Address,
    /// `tag`: only instances with it.
    pub tag: Option<String>,
    /// `datacenter`; `None`: the agent's own.
    pub datacenter: Option<String>,
    /// `token`: the ACL token.
    pub token: Option<String>,
}

/// `[upstream.NAME.health_check]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// `type` with what only that type has.
    pub kind: CheckKind,
    /// `interval`, from start to start.
    pub interval: Duration,
    /// `jitter`: each probe is delayed by a random time below this.
    pub jitter: Duration,
    /// `timeout` of a whole probe.
    pub timeout: Duration,
    /// `fails` in a row make a peer unhealthy.
    pub fails: u32,
    /// `passes` in a row make it healthy again.
    pub passes: u32,
    /// `port`, if not the peer's own.
    pub port: Option<u16>,
}

/// `health_check.type`.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// GET `uri`, judged by `expect`.
    Http {
        /// The request target, beginning with `/`.
        uri: String,
        /// `host`: the Host field of probes; `None`: the server's text.
        host: Option<String>,
        /// `match`.
        expect: Expect,
    },
    /// A connection that is accepted.
    Tcp,
    /// The gRPC health protocol.
    Grpc {
        /// `grpc_service`; empty: the whole server.
        service: String,
        /// `grpc_status`: also healthy when the protocol answers with this status (12: UNIMPLEMENTED).
        status: Option<u32>,
    },
}

/// `health_check.match`: all tests must hold. (nginx Plus `match` block, spec §6.2.)
#[derive(Clone, Debug)]
pub struct Expect {
    /// `status = "200-399"`, `"! 500-599"`; `None`: any status.
    pub status: Option<StatusSet>,
    /// `headers`: tests on fields.
    pub headers: Vec<HeaderTest>,
    /// `body`: a test on the first 256 KiB.
    pub body: Option<BodyTest>,
    /// `json`: tests on a body of at most 256 KiB.
    pub json: Vec<JsonTest>,
}

/// A list of status ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    /// The list says what must not come.
    pub negated: bool,
    /// Inclusive ranges.
    pub ranges: Vec<(u16, u16)>,
}

/// One test on a response field.
#[derive(Clone, Debug)]
pub struct HeaderTest {
    /// The field's name, lower case.
    pub name: String,
    /// What must hold. With several fields of that name, one that fits is enough.
    pub test: ValueTest,
}

/// What must hold for a field.
#[derive(Clone, Debug)]
pub enum ValueTest {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It has this value.
    Is(String),
    /// It is there with another value.
    IsNot(String),
    /// It matches.
    Matches(regex::bytes::Regex),
    /// It is there and does not match.
    MatchesNot(regex::bytes::Regex),
}

/// `body ~ RE` or `body !~ RE`.
#[derive(Clone, Debug)]
pub struct BodyTest {
    /// True for `!~`.
    pub negated: bool,
    /// The expression.
    pub pattern: regex::bytes::Regex,
}

/// `[[server]]`: a virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `listen`, at least one.
    pub listen: Vec<Listen>,
    /// `server_name`; empty: any.
    pub server_name: Vec<ServerName>,
    /// `[[server.location]]`, in the order of the file.
    pub locations: Vec<Location>,
    /// Limits on what a client may send and how long it may take.
    pub client: ClientLimits,
    /// `redirect_to_https`: requests that come without TLS are sent to this port.
    pub redirect_to_https: Option<u16>,
    /// `hsts`: the value of Strict-Transport-Security on answers over TLS.
    pub hsts: Option<Arc<str>>,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; `listen = 80` is `0.0.0.0:80`.
    pub address: Endpoint,
    /// `default_server`: answers for names that no server has. Without it the first server of an address does.
    pub default_server: bool,
    /// `h2c`: clients may begin with HTTP/2 at once.
    pub h2c: bool,
    /// `mode` of a unix socket's file: who may connect.
    pub mode: u32,
    /// `proxy_protocol`: every connection begins with a PROXY header, from `trusted_proxies` alone.
    pub proxy_protocol: bool,
    /// `tls`; `None`: what another server of the same address has, if one has it.
    pub tls: Option<Arc<Acceptor>>,
    /// `udp`: datagrams, of a `[[stream]]`; then the address is one of IP.
    pub udp: bool,
}

/// Who may connect to a unix socket: as in nginx, whoever may enter its folder.
const DEFAULT_MODE: u32 = 0o666;

impl Listen {
    /// An address with nothing else said of it.
    pub fn on(address: impl Into<Endpoint>) -> Listen {
        Listen {
            address: address.into(),
            default_server: false,
            h2c: false,
            mode: DEFAULT_MODE,
            proxy_protocol: false,
            tls: None,
            udp: false,
        }
    }
}

/// One `server_name`, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// `example.com`.
    Exact(String),
    /// `*.example.org`: holds `.example.org`.
    Suffix(String),
    /// `www.example.*`: holds `www.example.`.
    Prefix(String),
}

/// `[[server.location]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// `path`.
    pub path: PathMatch,
    /// Index into [`Config::upstreams`]; `None`: it answers by itself, see `fixed`.
    pub upstream: Option<usize>,
    /// `return`.
    pub fixed: Option<Return>,
    /// The path in `proxy_pass`, which replaces the matched prefix; `None`: the target is forwarded as it came.
    pub replace: Option<String>,
    /// The text after the scheme in `proxy_pass`: `$proxy_host`.
    pub proxy_host: Arc<str>,
    /// `proxy_*` after inheritance.
    pub proxy: ProxySettings,
    /// `add_header`: fields put on answers, name (as written) and value; those with an empty value are left out.
    pub add_header: Vec<(String, Template)>,
    /// `limit_req` and `limit_conn` after inheritance.
    pub limits: Limits,
    /// `split`: who gets a share of the requests in place of `upstream`.
    pub split: Option<Split>,
    /// `mirror`: who gets copies of a share of them.
    pub mirror: Option<Mirror>,
}

/// `return`: an answer for which nobody is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Return {
    /// The status; 444: the connection ends without an answer.
    pub status: u16,
    /// Where the client shall go, with a status that says so.
    pub location: Option<Template>,
    /// The body; `None`: the status and its name, if a body is due.
    pub text: Option<Template>,
}

/// `path` of a location.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// `"/x/"`: the longest prefix wins.
    Prefix(String),
    /// `{ exact = "/x" }`: this path alone, before any prefix.
    Exact(String),
}

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

/// Without the token, which is nobody's business in a log.
impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        let mut shown = f.debug_struct("Consul");
        shown.field("service", &self.service).field("address", &self.address).field("tag", &self.tag);
        shown.field("datacenter", &self.datacenter).field("token", &token).finish()
    }
}

/// Without the token, which is nobody's business in a log.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Admin").field("listen", &self.listen).field("token", &token).finish()
    }
}

impl PartialEq for Expect {
    fn eq(&self, other: &Self) -> bool {
        self.status == other.status
            && self.headers == other.headers
            && self.body == other.body
            && self.json == other.json
    }
}

impl PartialEq for HeaderTest {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.test == other.test
    }
}

impl PartialEq for ValueTest {
    fn eq(&self, other: &Self) -> bool {
        use ValueTest::*;
        match (self, other) {
            (Present, Present) | (Absent, Absent) => true,
            (Is(a), Is(b)) | (IsNot(a), IsNot(b)) => a == b,
            (Matches(a), Matches(b)) | (MatchesNot(a), MatchesNot(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl PartialEq for BodyTest {
    fn eq(&self, other: &Self) -> bool {
        self.negated == other.negated && self.pattern.as_str() == other.pattern.as_str()
    }
}
