use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn v6() -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into()
}

fn found(addrs: &[IpAddr], valid: u64) -> Answer {
    Answer::Found { addrs: addrs.to_vec(), valid: secs(valid) }
}

#[test]
fn two_families_are_one_answer() {
    let has = |addrs: &[IpAddr], ttl| Family::Found(addrs.to_vec(), secs(ttl));
    let broken = || Family::Failed("SERVFAIL".into());
    let failed = || Answer::Failed("SERVFAIL".into());
    for (a, aaaa, answer) in [
        (has(&[v4(2), v4(1), v4(2)], 3), Family::Empty, found(&[v4(1), v4(2)], 3)),
        (has(&[v4(1)], 4), has(&[v6()], 2), found(&[v4(1), v6()], 2)),
        (Family::Empty, has(&[v6()], 2), found(&[v6()], 2)),
        (Family::Empty, Family::Empty, Answer::NoSuchName),
        (has(&[v4(1)], 3), broken(), found(&[v4(1)], 3)),
        (broken(), has(&[v6()], 3), failed()),
        (broken(), Family::Empty, failed()),
        (Family::Empty, broken(), failed()),
        (broken(), broken(), failed()),
    ] {
        assert_eq!(join(a.clone(), aaaa.clone(), secs(5)), answer, "{a:?} and {aaaa:?}");
    }
}

#[test]
fn a_ttl_is_kept_between_one_second_and_the_cap() {
    for (ttl, cap, valid) in [(0, 5, 1), (1, 5, 1), (4, 5, 4), (600, 5, 5), (600, 1, 1), (0, 1, 1)] {
        let answer = join(Family::Found(vec![v4(1)], secs(ttl)), Family::Empty, secs(cap));
        assert_eq!(answer, found(&[v4(1)], valid), "a TTL of {ttl} with a cap of {cap}");
    }
}

fn dns(servers: &[&str], resolv_conf: &str, in_docker: bool) -> Result<Dns, String> {
    let servers: Vec<SocketAddr> = servers.iter().map(|server| server.parse().expect("an address")).collect();
    Dns::new(&servers, resolv_conf.as_bytes(), in_docker, TIMEOUT)
}

#[tokio::test]
async fn dockers_own_dns_is_believed_for_one_second() {
    for (servers, resolv_conf, in_docker, cap) in [
        (&[][..], "nameserver 127.0.0.11\noptions ndots:0\n", true, 1),
        (&[], "nameserver 10.0.0.2\n", true, 5),
        (&["10.0.0.2:53"], "nameserver 127.0.0.11\n", true, 5),
        (&["127.0.0.11:53"], "", false, 1),
        (&[], "", true, 1),
        (&[], "search not..valid\nnameserver 10.0.0.2\n", false, 5),
        (&[], "\0\u{fffd} nonsense\nnameserver what\nnameserver 10.0.0.2", false, 5),
    ] {
        let cap_of = dns(servers, resolv_conf, in_docker).map(|dns| dns.cap);
        assert_eq!(cap_of, Ok(secs(cap)), "{servers:?} and {resolv_conf:?}");
    }
}

#[test]
fn without_any_server_the_failure_says_what_to_write() {
    let why = dns(&[], "", false).expect_err("nobody to ask");
    assert!(why.contains("/etc/resolv.conf") && why.contains("`resolver`"), "{why}");
}

#[test]
fn search_domains_follow_resolv_conf() {
    let asked = |ndots, domains: &[&str], host: &str| {
        let domains = domains.iter().map(|domain| Name::from_ascii(domain).expect("a name")).collect();
        let names = Search { domains, ndots }.candidates(host)?;
        Some(names.iter().map(Name::to_string).collect::<Vec<_>>().join(" "))
    };
    let k8s = &["ns.svc.cluster.local", "svc.cluster.local"][..];
    for (ndots, domains, host, names) in [
        (1, &[][..], "app", Some("app.")),
        (0, &["corp"], "app", Some("app. app.corp.")),
        (1, &["corp"], "app", Some("app.corp. app.")),
        (1, &["corp"], "app.x", Some("app.x. app.x.corp.")),
        (1, &["corp"], "app.", Some("app.")),
        (5, k8s, "web.ns", Some("web.ns.ns.svc.cluster.local. web.ns.svc.cluster.local. web.ns.")),
        (1, &[], "pyfla_app1", Some("pyfla_app1.")),
        (1, &[], "a..b", None),
    ] {
        assert_eq!(asked(ndots, domains, host).as_deref(), names, "{host} with ndots {ndots}");
    }
    assert_eq!(asked(1, &[], &"x".repeat(64)), None, "a label has 63 bytes at most");
}

#[test]
fn the_hosts_file_is_read_as_hosts_5_says() {
    let hosts = b"127.0.0.1 localhost\n::1\tlocalhost ip6-localhost\n# 10.0.0.9 app\n10.0.0.1 App app1 # app2\n\
                  10.0.0.2 app\nnonsense app\n\xff\xfe\n10.0.0.3\n";
    let localhost = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for (host, addrs) in [
        ("app", &[v4(1), v4(2)][..]),
        ("APP1", &[v4(1)]),
        ("app1.", &[v4(1)]),
        ("app2", &[]),
        ("ap", &[]),
        ("localhost", &localhost),
    ] {
        assert_eq!(in_hosts(hosts, host), addrs, "{host}");
    }
    assert_eq!(in_hosts(b"", "localhost"), &localhost[..1], "known without a file");
    assert_eq!(in_hosts(b"", "app.localhost"), &localhost[..1]);
}

/// A resolver that has read an empty resolv.conf already, and asks like this.
fn asking(dns: Result<Dns, String>, valid: Option<Duration>) -> Resolver {
    let resolver = Resolver::reading("/nonexistent/resolv.conf".into(), &[], valid);
    resolver.known.replace(Some(Known { system: Vec::new(), dns: Rc::new(dns) }));
    resolver
}

#[tokio::test]
async fn an_address_needs_no_dns() {
    let resolver = asking(Err("nobody to ask".into()), None);
    assert_eq!(resolver.resolve("10.0.0.7").await, found(&[v4(7)], 5));
    assert_eq!(resolver.resolve("[::1]").await, found(&[Ipv6Addr::LOCALHOST.into()], 5));
    assert_eq!(resolver.resolve("app").await, Answer::Failed("nobody to ask".into()));
}

/// A DNS server on loopback, with answers made by hand (RFC 1035 section 4).
struct FakeDns {
    addr: SocketAddr,
    queries: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl FakeDns {
    async fn start() -> FakeDns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let addr = socket.local_addr().expect("bound");
        let queries = Arc::new(AtomicUsize::new(0));
        let seen = queries.clone();
        let task = tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                seen.fetch_add(1, Relaxed);
                if let Some(reply) = reply(&packet[..length]) {
                    let _ = socket.send_to(&reply, from).await;
                }
            }
        });
        FakeDns { addr, queries, task }
    }

    fn resolver(&self, valid: Option<Duration>) -> Resolver {
        let dns = Dns::new(&[self.addr], b"search corp\nnameserver 10.0.0.2\n", false, Duration::from_millis(150));
        asking(dns, valid)
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const SRV: u16 = 33;
const PTR: u16 = 12;

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    [[priority, weight, port].map(u16::to_be_bytes).concat(), encoded(target)].concat()
}

fn failure(query: &[u8], end: usize, rcode: u8) -> Vec<u8> {
    let head = [query[0], query[1], 0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], &query[12..end + 5]].concat()
}

fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    let mut labels = Vec::new();
    while query[end] != 0 {
        let label = &query[end + 1..=end + usize::from(query[end])];
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        end += label.len() + 1;
    }
    let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
    let name = labels.join(".");
    let other = match (name.as_str(), kind) {
        ("_http._tcp.shop", SRV) => {
            Some(&[srv(20, 1, 80, "near.corp"), srv(10, 3, 81, "app"), srv(10, 0, 0, "app")][..])
        }
        ("_http._tcp.off", SRV) => Some(&[srv(0, 0, 80, "")][..]),
        ("_http._tcp.half", SRV) => Some(&[srv(0, 0, 80, "app"), srv(0, 0, 80, "broken")][..]),
        ("7.0.0.10.in-addr.arpa", PTR) => Some(&[encoded("alb_app_1.alb_default")][..]),
        ("8.0.0.10.in-addr.arpa", PTR) => return Some(failure(query, end, 2)),
        _ => None,
    };
    if let Some(data) = other {
        let head = [query[0], query[1], 0x81, 0x80, 0, 1, 0, data.len() as u8, 0, 0, 0, 0];
        let mut reply = [&head[..], &query[12..end + 5]].concat();
        for data in data {
            reply.extend_from_slice(&[0xc0, 12, 0, kind as u8, 0, 1, 0, 0, 2, 0x58, 0, data.len() as u8]);
            reply.extend_from_slice(data);
        }
        return Some(reply);
    }
    let (rcode, addrs): (u8, &[u8]) = match (name.as_str(), kind) {
        ("app", 1) => (0, &[2, 1]),
        ("app" | "six.corp", _) => (0, &[]),
        ("near.corp", 1) => (0, &[3]),
        ("broken" | "half.corp", _) => (2, &[]),
        ("refused", _) => (5, &[]),
        ("silent", _) => return None,
        ("nonsense", _) => return Some(b"\xff\xff nonsense".to_vec()),
        _ => (3, &[]),
    };
    let question = &query[12..end + 5];
    let head = [query[0], query[1], 0x81, 0x80 | rcode, 0, 1, 0, addrs.len() as u8, 0, 0, 0, 0];
    let mut reply = [&head[..], question].concat();
    for &last in addrs {
        // A pointer to the name, type A, class IN, a TTL of 600, four bytes.
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 0x58, 0, 4, 10, 0, 0, last]);
    }
    Some(reply)
}

#[tokio::test]
async fn a_server_is_asked_for_what_it_knows() {
    let server = FakeDns::start().await;
    let resolver = server.resolver(None);
    assert_eq!(resolver.resolve("app.").await, found(&[v4(1), v4(2)], 5));
    assert_eq!(resolver.resolve("near").await, found(&[v4(3)], 5), "by the search domain");
    assert_eq!(resolver.resolve("APP").await, found(&[v4(1), v4(2)], 5), "after the search domain, in any case");
    assert_eq!(server.resolver(Some(secs(30))).resolve("app").await, found(&[v4(1), v4(2)], 30));
}

#[tokio::test]
async fn no_such_name_is_an_answer_and_a_broken_server_gives_none() {
    let server = FakeDns::start().await;
    let resolver = server.resolver(None);
    assert_eq!(resolver.resolve("gone").await, Answer::NoSuchName);
    assert_eq!(resolver.resolve("six").await, Answer::NoSuchName, "a name without an address");
    for (host, told) in [("broken.", "Server Failure"), ("refused.", "Query Refused"), ("half", "Server Failure")] {
        let Answer::Failed(why) = resolver.resolve(host).await else { panic!("{host} is not known to be absent") };
        assert!(why.contains(told), "{host}: {why}");
    }
}

#[tokio::test]
async fn silence_and_nonsense_end_in_time_and_are_not_a_storm() {
    let server = FakeDns::start().await;
    let resolver = server.resolver(None);
    for host in ["silent.", "nonsense."] {
        let before = server.queries.load(Relaxed);
        let answer = resolver.resolve(host).await;
        assert!(matches!(answer, Answer::Failed(_)), "{host}: {answer:?}");
        let asked = server.queries.load(Relaxed) - before;
        assert!((2..=16).contains(&asked), "{host} was asked for {asked} times");
    }
}

#[tokio::test]
async fn the_same_name_is_asked_for_again() {
    let server = FakeDns::start().await;
    let resolver = server.resolver(None);
    for rounds in 1..=3 {
        resolver.resolve("app.").await;
        assert_eq!(server.queries.load(Relaxed), rounds * 2, "A and AAAA, out of no cache");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_failure() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
    let dns = Dns::new(&[closed], b"", false, Duration::from_millis(150));
    let answer = asking(dns, None).resolve("app").await;
    assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
}

#[tokio::test]
async fn a_service_is_where_the_targets_of_its_records_are() {
    let server = FakeDns::start().await;
    let resolver = server.resolver(None);
    let at = |priority, weight, last, port| Located { priority, weight, addr: SocketAddr::new(v4(last), port) };
    let shop = Answer::Found { addrs: vec![at(10, 3, 1, 81), at(10, 3, 2, 81), at(20, 1, 3, 80)], valid: secs(5) };
    assert_eq!(resolver.locate("_http._tcp.shop").await, shop, "port 0 is none to ask");
    assert_eq!(resolver.locate("_http._tcp.gone").await, Answer::NoSuchName);
    assert_eq!(resolver.locate("_http._tcp.off").await, Answer::NoSuchName, "a target of `.` (RFC 2782)");
    let half = resolver.locate("_http._tcp.half").await;
    assert!(matches!(half, Answer::Failed(_)), "half an answer would take the other half's peers away: {half:?}");
}

#[tokio::test]
async fn an_address_is_called_as_its_replica() {
    let server = FakeDns::start().await;
    let resolver = server.resolver(None);
    assert_eq!(resolver.replica(v4(7)).await, Reverse::Called("app_1".into()));
    assert_eq!(resolver.replica(v4(9)).await, Reverse::Nameless);
    assert_eq!(resolver.replica(v4(8)).await, Reverse::Failed);
}

#[tokio::test]
async fn a_resolv_conf_that_changes_is_followed_and_one_that_is_being_written_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    let resolver = Resolver::reading(file.clone(), &[], None);
    let cap = || match &*resolver.dns() {
        Ok(dns) => Ok((dns.cap, dns.search.domains.len())),
        Err(_) => Err(()),
    };
    write("nameserver 10.0.0.2\nsearch corp\n");
    assert_eq!(cap(), Ok((secs(5), 1)));
    write("");
    assert_eq!(cap(), Ok((secs(5), 1)));
    write("nameserver 127.0.0.11\n");
    assert_eq!(cap(), Ok((secs(1), 0)), "Docker's own");
}
