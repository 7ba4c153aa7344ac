//! Which addresses does this name have? Control plane only; never `getaddrinfo`, which blocks and breaks a static
//! binary.

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

mod replica;
mod service;

pub use replica::Reverse;
pub use service::Located;

/// The DNS server inside Docker's user-defined networks. It answers with a TTL of 600 whatever happens.
const DOCKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
const TTL_FLOOR: Duration = Duration::from_secs(1);
const TTL_CAP: Duration = Duration::from_secs(5);
/// Addresses out of /etc/hosts are looked up again as often as others: the file may be edited.
const HOSTS_VALID: Duration = TTL_CAP;
/// One try; a silent server gets two.
const TIMEOUT: Duration = Duration::from_secs(2);
/// For a name in all, however many search domains there are.
const OVERALL: Duration = Duration::from_secs(8);

/// Asks DNS servers, after /etc/hosts. Keeps no cache: who asks knows best how fresh the answer must be.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    valid: Option<Duration>,
    /// Where resolv.conf(5) is.
    system: PathBuf,
    known: RefCell<Option<Known>>,
}

/// What a name, or a service, resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T = Vec<IpAddr>> {
    /// It has these addresses.
    Found {
        /// At least one, in order, each once.
        addrs: T,
        /// How long until it should be asked again.
        valid: Duration,
    },
    /// The servers say that there is no such name, or that it has no address.
    NoSuchName,
    /// Nobody could say: silence, SERVFAIL, no server. What was known before still holds.
    Failed(String),
}

/// Whom resolv.conf names, and what it said when that was found out.
#[derive(Debug)]
struct Known {
    system: Vec<u8>,
    dns: Rc<Result<Dns, String>>,
}

/// DNS servers and how to ask them.
#[derive(Debug)]
struct Dns {
    client: TokioResolver,
    search: Search,
    cap: Duration,
}

impl Resolver {
    /// Asks `servers`, or those of /etc/resolv.conf if there are none. `valid` overrides the TTL of answers. Never
    /// fails: without any server to ask, names that are not in /etc/hosts are [`Answer::Failed`]. To be used within
    /// one tokio runtime.
    pub fn new(servers: &[SocketAddr], valid: Option<Duration>) -> Resolver {
        Resolver::reading("/etc/resolv.conf".into(), servers, valid)
    }

    fn reading(system: PathBuf, servers: &[SocketAddr], valid: Option<Duration>) -> Resolver {
        Resolver { servers: servers.to_vec(), valid, system, known: RefCell::default() }
    }

    /// Whom to ask now. resolv.conf is read anew each time, as /etc/hosts is: both are small, and DHCP, a VPN or a
    /// container's engine may rewrite them. One that names nobody, as while it is being written, does not count.
    fn dns(&self) -> Rc<Result<Dns, String>> {
        let system = fs::read(&self.system).unwrap_or_default();
        let mut known = self.known.borrow_mut();
        if let Some(known) = &*known
            && known.system == system
        {
            return known.dns.clone();
        }
        let (in_docker, is_empty) = (Path::new("/.dockerenv").exists(), system.is_empty());
        let dns = Dns::new(&self.servers, &system, in_docker, TIMEOUT);
        match &mut *known {
            Some(known) if (dns.is_err() || is_empty) && known.dns.is_ok() => known.dns.clone(),
            known => {
                if known.is_some() {
                    tracing::info!("{} has changed: DNS is asked as it says now", self.system.display());
                }
                known.insert(Known { system, dns: Rc::new(dns) }).dns.clone()
            }
        }
    }

    /// Asks for A and AAAA. Takes a few seconds at most. `host` may be an address in text.
    pub async fn resolve(&self, host: &str) -> Answer {
        let known = match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(addr) => vec![addr],
            // Read anew each time, as the C library does: it is small, and it may be edited.
            Err(_) => in_hosts(&fs::read("/etc/hosts").unwrap_or_default(), host),
        };
        let asked = match &*self.dns() {
            _ if !known.is_empty() => Answer::Found { addrs: in_order(known), valid: HOSTS_VALID },
            Err(why) => Answer::Failed(why.clone()),
            Ok(dns) => tokio::time::timeout(OVERALL, dns.ask(host))
                .await
                .unwrap_or_else(|_| Answer::Failed(format!("no DNS server answered within {OVERALL:?}"))),
        };
        self.for_as_long_as_wanted(asked)
    }

    /// Asks for the SRV records of a service, by its whole name (`_http._tcp.app`), and for the addresses of their
    /// targets. Takes a few seconds at most. One target that nobody could look up makes it a failure, since half an
    /// answer would take the other half's peers away.
    pub async fn locate(&self, service: &str) -> Answer<Vec<Located>> {
        let asked = match &*self.dns() {
            Err(why) => Answer::Failed(why.clone()),
            Ok(dns) => tokio::time::timeout(OVERALL, dns.locate(service))
                .await
                .unwrap_or_else(|_| Answer::Failed(format!("no DNS server answered within {OVERALL:?}"))),
        };
        self.for_as_long_as_wanted(asked)
    }

    /// Asks what the host at an address is called (PTR), without its domain or its container network.
    pub async fn replica(&self, addr: IpAddr) -> Reverse {
        match &*self.dns() {
            Err(_) => Reverse::Failed,
            Ok(dns) => tokio::time::timeout(OVERALL, dns.reverse(addr)).await.unwrap_or(Reverse::Failed),
        }
    }

    fn for_as_long_as_wanted<T>(&self, asked: Answer<T>) -> Answer<T> {
        match (asked, self.valid) {
            (Answer::Found { addrs, .. }, Some(valid)) => Answer::Found { addrs, valid: valid.max(TTL_FLOOR) },
            (answer, _) => answer,
        }
    }
}

impl Dns {
    fn new(servers: &[SocketAddr], resolv_conf: &[u8], in_docker: bool, timeout: Duration) -> Result<Dns, String> {
        let (search, mut system) = match read_system(resolv_conf) {
            Some((config, options)) => {
                let search = Search { domains: config.search().to_vec(), ndots: options.ndots };
                let addr = |server: &NameServerConfig| SocketAddr::new(server.ip, 53);
                (search, config.name_servers().iter().map(addr).collect())
            }
            // A file without servers may still be all there is in an image made from scratch.
            None => (Search { domains: Vec::new(), ndots: 1 }, Vec::new()),
        };
        if system.is_empty() && in_docker {
            system.push(SocketAddr::new(DOCKER, 53));
        }
        let servers = if servers.is_empty() { &system[..] } else { servers };
        if servers.is_empty() {
            let why = "no DNS server is known: /etc/resolv.conf names none; set `resolver` in upstream.toml";
            return Err(why.into());
        }
        let cap = if servers.iter().any(|server| server.ip() == DOCKER) { TTL_FLOOR } else { TTL_CAP };
        let client = client(servers, timeout).map_err(|error| format!("cannot ask DNS: {error}"))?;
        Ok(Dns { client, search, cap })
    }

    /// The addresses of a name.
    async fn ask(&self, host: &str) -> Answer {
        let addresses = async |name: Name| {
            let (v4, v6) = tokio::join!(self.lookup(&name, RecordType::A), self.lookup(&name, RecordType::AAAA));
            join(v4, v6, self.cap)
        };
        self.first(host, addresses).await
    }

    /// Tries the candidates for `host` in order until one has an answer. A failure is remembered: that one candidate does
    /// not exist says nothing about another that nobody could look up.
    async fn first<T>(&self, host: &str, look: impl AsyncFn(Name) -> Answer<T>) -> Answer<T> {
        let Some(candidates) = self.search.candidates(host) else { return Answer::NoSuchName };
        let mut failed = None;
        for name in candidates {
            match look(name).await {
                Answer::NoSuchName => {}
                Answer::Failed(why) => failed = failed.or(Some(why)),
                found => return found,
            }
        }
        failed.map_or(Answer::NoSuchName, Answer::Failed)
    }
}

/// `None` if it names no server. One bad search domain does not cost the servers.
fn read_system(resolv_conf: &[u8]) -> Option<(ResolverConfig, ResolverOpts)> {
    let servers_alone = || {
        let lines = resolv_conf.split(|&byte| byte == b'\n');
        let servers: Vec<&[u8]> = lines.filter(|line| line.starts_with(b"nameserver")).collect();
        parse_resolv_conf(servers.join(&b'\n'))
    };
    parse_resolv_conf(resolv_conf).or_else(|_| servers_alone()).ok()
}

fn client(servers: &[SocketAddr], timeout: Duration) -> Result<TokioResolver, NetError> {
    let server = |addr: &SocketAddr| {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (addr.port(), addr.port());
        NameServerConfig::new(addr.ip(), true, vec![udp, tcp])
    };
    // The search list and /etc/hosts are ours, to keep "no such name" apart from "nobody could say".
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.timeout = timeout;
    options.attempts = 1; // after the first try
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

/// What one family of addresses gave.
#[derive(Clone, Debug)]
enum Family {
    Found(Vec<IpAddr>, Duration),
    Empty,
    Failed(String),
}

/// Both families as one answer. Servers that choke on AAAA are common, so that addresses of IPv4 stand alone; a failed
/// A is a failure, since half an answer would take the other half's peers away.
fn join(v4: Family, v6: Family, cap: Duration) -> Answer {
    let (mut addrs, mut ttl) = (Vec::new(), Duration::MAX);
    for family in [&v4, &v6] {
        if let Family::Found(found, valid) = family {
            addrs.extend_from_slice(found);
            ttl = ttl.min(*valid);
        }
    }
    match (v4, v6) {
        (Family::Failed(why), _) | (Family::Empty, Family::Failed(why)) => Answer::Failed(why),
        _ if addrs.is_empty() => Answer::NoSuchName,
        _ => Answer::Found { addrs: in_order(addrs), valid: ttl.clamp(TTL_FLOOR, cap) },
    }
}

fn in_order(mut addrs: Vec<IpAddr>) -> Vec<IpAddr> {
    addrs.sort_unstable();
    addrs.dedup();
    addrs
}

/// `search` and `ndots` of resolv.conf(5).
#[derive(Debug)]
struct Search {
    domains: Vec<Name>,
    ndots: usize,
}

impl Search {
    /// The whole names to ask for, in order; `None` if `host` cannot be a name.
    fn candidates(&self, host: &str) -> Option<Vec<Name>> {
        let name = Name::from_str_relaxed(host).ok()?;
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return Some(vec![absolute]);
        }
        let mut names: Vec<Name> = self
            .domains
            .iter()
            .filter_map(|domain| {
                let mut name = name.clone().append_domain(domain).ok()?;
                name.set_fqdn(true);
                Some(name)
            })
            .collect();
        let dots = host.bytes().filter(|&byte| byte == b'.').count();
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, absolute);
        Some(names)
    }
}

/// The addresses of `host` in the text of /etc/hosts. `localhost` is known without it (RFC 6761 section 6.3), as
/// 127.0.0.1 alone.
fn in_hosts(hosts: &[u8], host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let text = String::from_utf8_lossy(hosts);
    let addrs: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let addr = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(host)).then_some(addr)
        })
        .collect();
    let localhost = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    if addrs.is_empty() && localhost { vec![Ipv4Addr::LOCALHOST.into()] } else { addrs }
}

fn in_words(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no DNS server answered in time".into(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the DNS server answered {code}"),
        NetError::Dns(DnsError::NoRecordsFound(none)) => format!("the DNS server answered {}", none.response_code),
        NetError::Io(error) => format!("cannot reach a DNS server: {error}"),
        error => format!("DNS: {error}"),
    }
}

#[cfg(test)]
mod tests;
