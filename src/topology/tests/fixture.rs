//! Configurations for tests, in as few words as nginx would need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::balancer::Method;
use crate::clock::Timestamp;
use crate::config::model::*;
use crate::health::Outcome;
use crate::topology::{Ask, Group, Lease, Peer, Refused, Topology, Tried};

/// The moment at which tests begin.
pub(super) const T0: Timestamp = Timestamp::secs(1_000);

/// `T0` and some seconds.
pub(super) fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

/// Group `g` of servers as in nginx, separated by commas: `a weight=2, b backup, app:5000 max_conns=1`. A letter is the
/// address 10.0.0.N:80 with N its place in the alphabet; `name:port` is a name.
pub(super) fn upstream(servers: &str) -> Upstream {
    Upstream {
        name: "g".into(),
        implicit: false,
        method: Method::RoundRobin,
        key: None,
        servers: servers.split(',').map(str::trim).filter(|text| !text.is_empty()).map(server).collect(),
        servers_file: None,
        docker: false,
        consul: None,
        keepalive: 32,
        keepalive_timeout: Duration::from_secs(60),
        keepalive_requests: 1000,
        keepalive_time: Duration::from_secs(3600),
        proxy_protocol: None,
        queue: None,
        health_check: None,
        max_ejected: 100,
        try_when_all_fail: false,
        retry_budget: RetryBudget { percent: 20, min_per_second: 10 },
        outliers: None,
        warmup: vec![],
        tls: None,
        sticky: None,
    }
}

pub(super) fn server(text: &str) -> UpstreamServer {
    let mut words = text.split_whitespace();
    let address = words.next().expect("a server has an address");
    let mut server = UpstreamServer {
        text: address.into(),
        address: place(address),
        weight: 1,
        max_conns: 0,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        backup: false,
        down: false,
        drain: false,
        route: None,
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, "0"));
        if key == "route" {
            server.route = Some(value.into());
            continue;
        }
        let number: u32 = value.parse().expect("a number");
        match key {
            "weight" => server.weight = number,
            "max_conns" => server.max_conns = number,
            "max_fails" => server.max_fails = number,
            "fail_timeout" => server.fail_timeout = Duration::from_secs(number.into()),
            "slow_start" => server.slow_start = Duration::from_secs(number.into()),
            "backup" => server.backup = true,
            "down" => server.down = true,
            "drain" => server.drain = true,
            other => panic!("no such parameter: {other}"),
        }
    }
    server
}

fn place(address: &str) -> Address {
    match address.split_once(':') {
        Some((host, port)) => Address::Name { host: host.to_owned(), port: port.parse().expect("a port") },
        None => Address::Ip(addr(address)),
    }
}

/// The address of a letter.
pub(super) fn addr(letter: &str) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, letter.as_bytes()[0] - b'a' + 1], 80))
}

pub(super) fn check() -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(5),
        jitter: Duration::ZERO,
        timeout: Duration::from_secs(1),
        fails: 1,
        passes: 1,
        port: None,
    }
}

/// A configuration with these groups and one server on port 80 that sends all to the first.
pub(super) fn config(upstreams: Vec<Upstream>) -> Config {
    let servers = if upstreams.is_empty() { vec![] } else { vec![virtual_server(&[], &[("/", 0)])] };
    Config {
        workers: None,
        access_log: LogTarget::Off,
        log_format: LogFormat::Combined,
        shutdown_timeout: Duration::from_secs(30),
        trusted_proxies: Default::default(),
        real_ip_header: Default::default(),
        resolver: vec![],
        resolver_valid: None,
        state_file: None,
        takeover: None,
        docker_socket: "/var/run/docker.sock".into(),
        admin: Admin { listen: None, token: None },
        upstreams,
        servers,
        streams: vec![],
    }
}

/// A server on port 80 with names as in the file, and locations: a path (`= /x` is exact) and its upstream's index.
pub(super) fn virtual_server(names: &[&str], locations: &[(&str, usize)]) -> Server {
    let name = |name: &&str| match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(suffix), _) => ServerName::Suffix(suffix.to_owned()),
        (_, Some(prefix)) => ServerName::Prefix(prefix.to_owned()),
        _ => ServerName::Exact((*name).to_owned()),
    };
    Server {
        listen: vec![Listen::on(SocketAddr::from(([0, 0, 0, 0], 80)))],
        server_name: names.iter().map(name).collect(),
        locations: locations.iter().map(|(path, upstream)| location(path, *upstream)).collect(),
        redirect_to_https: None,
        hsts: None,
        client: ClientLimits {
            max_body_size: 1 << 20,
            body_buffer_size: 64 << 10,
            max_head_size: 32 << 10,
            max_target_size: 8 << 10,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(75),
            keepalive_requests: 1000,
            http2_max_concurrent_streams: 128,
        },
    }
}

fn location(path: &str, upstream: usize) -> Location {
    let second = Duration::from_secs(1);
    Location {
        path: match path.strip_prefix("= ") {
            Some(exact) => PathMatch::Exact(exact.to_owned()),
            None => PathMatch::Prefix(path.to_owned()),
        },
        upstream: Some(upstream),
        fixed: None,
        replace: None,
        proxy_host: "g".into(),
        proxy: ProxySettings {
            connect_timeout: 5 * second,
            send_timeout: 60 * second,
            read_timeout: 60 * second,
            next_upstream: NextUpstream::default(),
            next_upstream_tries: 0,
            next_upstream_timeout: Duration::ZERO,
            set_header: vec![],
            hide_header: vec![],
            max_response_head: 64 << 10,
            tunnel_timeout: 3600 * second,
            http_version: HttpVersion::default(),
            hedge_after: None,
        },
        add_header: vec![],
        limits: Default::default(),
        split: None,
        mirror: None,
    }
}

/// A group of servers, and the snapshot that keeps it.
pub(super) fn group(upstream: Upstream) -> (Topology, Arc<Group>) {
    group_since(T0, upstream)
}

/// A group that begins at another moment: leases that are dropped read the process's clock.
pub(super) fn group_since(now: Timestamp, upstream: Upstream) -> (Topology, Arc<Group>) {
    let topology = Topology::build_seeded(Arc::new(config(vec![upstream])), 1, now);
    let group = topology.groups()[0].clone();
    (topology, group)
}

/// The peer of a letter.
pub(super) fn peer(group: &Group, letter: &str) -> Arc<Peer> {
    let named = group.seats().find(|seat| &*seat.peer.text == letter);
    named.expect("a letter of the group").peer.clone()
}

/// What `pick` found, in one word: a letter; `a!` trial, `a?` last resort; or why not.
pub(super) fn told(found: &Result<Lease, Refused>) -> String {
    match found {
        Ok(lease) => {
            let mark = if lease.is_trial() { "!" } else { "" };
            let resort = if lease.is_last_resort() { "?" } else { "" };
            format!("{}{mark}{resort}", lease.peer().text)
        }
        Err(Refused::Wait(wait)) => format!("{wait:?}"),
        Err(Refused::Nobody(nobody)) => format!("{:?}", nobody.why),
    }
}

/// A GET that has tried nobody.
pub(super) fn get(tried: &Tried) -> Ask<'_> {
    Ask { key: b"", repeatable: true, tried, bound: None }
}

/// A POST that has tried nobody.
pub(super) fn post(tried: &Tried) -> Ask<'_> {
    Ask { repeatable: false, ..get(tried) }
}

/// One whole GET: whom it got. Ends well.
pub(super) fn one(group: &Group, now: Timestamp) -> String {
    let tried = Tried::new();
    let found = group.try_lease(&get(&tried), now);
    let told = told(&found);
    if let Ok(lease) = found {
        lease.finish(Outcome::Success, now);
    }
    told
}

/// GETs one after the other.
pub(super) fn several(group: &Group, count: usize, now: Timestamp) -> String {
    (0..count).map(|_| one(group, now)).collect::<Vec<_>>().join(" ")
}

/// A request to one peer fails.
pub(super) fn fail(group: &Group, letter: &str, outcome: Outcome, now: Timestamp) {
    let peer = peer(group, letter);
    let mut tried = Tried::new();
    group.seats().filter(|seat| seat.peer.id != peer.id).for_each(|seat| tried.insert(seat.peer.id));
    let lease = group.try_lease(&get(&tried), now).expect("the only one left");
    assert_eq!(lease.peer().id, peer.id);
    lease.finish(outcome, now);
}

pub(super) fn hard() -> Outcome {
    Outcome::Hard("connection refused".into())
}

pub(super) fn soft() -> Outcome {
    Outcome::Soft("connection reset".into())
}
