//! What does a reload cost? Not a request, no memory that stays, and no wait: how often, and how large the group.
//!
//! `WEIR_RELOADS` says how many reloads (default 100); a multiple of 1,000 is a matter of minutes.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use super::timeouts::Unreachable;
use crate::support::{Backend, Client, Gate, Response, Script, Site, Weir, eventually, get};

/// Servers that are never asked, since they are backups: what a snapshot that is not let go of costs.
const SPARE: usize = 300;
/// The reloads repeat themselves after so many.
const CYCLE: usize = 10;

fn reloads() -> usize {
    let count = std::env::var("WEIR_RELOADS").map_or(100, |count| count.parse().expect("WEIR_RELOADS is a number"));
    count / CYCLE * CYCLE
}

/// An address that nobody else listens on: of 127.0.0.0/8, all of which is this machine.
fn free(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// The file of a turn: weights, peers, locations and the second listener change in turn.
fn site(apps: &[Backend; 3], second: SocketAddr, turn: usize) -> Site {
    let turn = turn % CYCLE;
    let mut servers: Vec<String> = apps[..2]
        .iter()
        .enumerate()
        .map(|(at, app)| format!("{{ address = \"{}\", weight = {} }}", app.address(), 1 + (turn + at) % 3))
        .collect();
    if turn % 2 == 1 {
        servers.push(format!("\"{}\"", apps[2].address()));
    }
    // Half of them come and go, too.
    let gone = if turn % 4 == 3 { SPARE / 2 } else { 0 };
    servers.extend(
        (gone..SPARE).map(|n| format!("{{ address = \"127.77.{}.{}:9\", backup = true }}", n / 250, 1 + n % 250)),
    );
    let listen = match turn % 3 {
        1 => "\"127.0.0.1:0\"".to_owned(),
        _ => format!("[\"127.0.0.1:0\", \"{second}\"]"),
    };
    let site = Site::servers(servers).top("workers = 2\naccess_log = \"off\"").listen(&listen);
    // Another location in front of the one for everything, with a group of its own. It goes with the listener or without it.
    let group = format!("[upstream.other]\nservers = [\"{}\"]", apps[turn % 3].address());
    let location = format!("[[server.location]]\npath = \"/turn{turn}\"\nproxy_pass = \"http://other\"");
    if matches!(turn, 0 | 4 | 5) { site } else { site.rest(&format!("{location}\n{group}")) }
}

/// Puts a file in force and waits for that; false: it says that nothing has changed.
fn put(weir: &Weir, site: &Site) {
    let mark = weir.mark();
    weir.edit(&site.toml());
    weir.sighup();
    weir.wait_since(mark, "the reload", |line| line.contains("upstream.toml is in force"));
}

/// What the process holds: resident bytes, descriptors, threads.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: u64,
    descriptors: usize,
    threads: usize,
}

/// Whether the connection ends with this answer.
fn is_last(answer: &Response) -> bool {
    answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

fn held(weir: &Weir) -> Held {
    Held { memory: weir.memory(), descriptors: weir.descriptors(), threads: weir.threads() }
}

#[test]
fn a_request_whose_group_a_reload_removes_before_it_is_asked_goes_where_the_new_file_says() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a]).start();
    // A body that has not come yet: the route is known, and nobody is asked.
    let mut client = weir.client();
    client.send("PUT / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().expect("it asks for the body").status, 100);
    let other = Site::of([&b]).toml().replace("upstream.web", "upstream.other").replace("http://web", "http://other");
    let mark = weir.mark();
    weir.edit(&other);
    weir.wait_since(mark, "the reload", |line| line.contains("upstream.toml is in force"));
    client.send("body");
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "b"));
    assert!(a.requests().is_empty());
}

#[test]
fn a_connection_whose_listener_and_upstream_a_reload_removes_is_answered_once_more() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let (site, second) = (Site::of([&a]), free("127.78.0.2"));
    let weir = site
        .clone()
        .rest(&format!(
            "[upstream.other]\nservers = [\"{}\"]\n[[server]]\nlisten = \"{second}\"\n\
             [[server.location]]\npath = \"/\"\nproxy_pass = \"http://other\"",
            b.address()
        ))
        .start();
    let mut client = Client::connect(second);
    let first = client.get("/");
    assert_eq!(first.text(), "b");
    assert!(!is_last(&first));
    let mark = weir.mark();
    put(&weir, &site);
    weir.wait_since(mark, "it is said", |line| line.contains("-upstream other") && line.contains("-listen"));
    let second = client.get("/");
    assert_eq!((second.status, second.text().as_str()), (200, "b"));
    assert!(is_last(&second));
    let gone = |line: &str| line.contains("other: ") && line.contains("gone from DNS or the configuration");
    assert!(!weir.log().iter().any(|line| gone(line)));
    weir.wait_since(mark, "it goes later", gone);
    eventually("its connections are closed", || b.open_connections() == 0);
}

/// Whether somebody on this machine is connecting to `address`, and has no answer yet.
fn is_being_connected(address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else { panic!("an address of IPv4") };
    // As Linux writes it: the remote end, and 02 for SYN_SENT.
    let ip = u32::from_ne_bytes(address.ip().octets());
    let row = format!(" {ip:08X}:{:04X} 02 ", address.port());
    std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| line.contains(&row))
}

#[test]
fn a_connect_to_a_peer_that_is_gone_is_given_up_for_another_peer() {
    let (nowhere, b) = (Unreachable::new(), Backend::start("b"));
    let site = |servers: &[SocketAddr]| {
        Site::servers(servers.iter().map(|address| format!("\"{address}\"")))
            .location("proxy_connect_timeout = \"10m\"")
    };
    let weir = site(&[nowhere.address, b.address()]).start();
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 4\r\n\r\nbody");
    eventually("weir connects", || is_being_connected(nowhere.address));
    put(&weir, &site(&[b.address()]));
    assert_eq!(client.response().text(), "b");
}

#[test]
fn idle_connections_to_a_peer_that_is_gone_are_closed() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    assert_eq!(crate::support::sorted(&weir.rotation(2)), "ab");
    assert_eq!(a.open_connections(), 1);
    put(&weir, &Site::of([&b]));
    eventually("its connection is closed", || a.open_connections() == 0);
    assert_eq!(weir.get("/").text(), "b");
}

#[test]
fn a_connection_to_a_peer_that_went_during_its_request_is_closed() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a]).start();
    let gate = Gate::default();
    a.on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "a"));
    let mut client = weir.client();
    client.send("GET /slow HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("the request is with a", || a.requests().len() == 1);
    put(&weir, &Site::of([&b]));
    gate.open();
    assert_eq!(client.response().text(), "a");
    eventually("its connection is closed", || a.open_connections() == 0);
}

#[test]
fn reloads_without_end_fail_no_request_and_leave_nothing_behind() {
    let apps = ["a", "b", "c"].map(Backend::start);
    let second = free("127.78.0.1");
    let weir = site(&apps, second, 0).start();
    let (first, count) = (weir.address(), reloads());
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let running = || !done.load(SeqCst);
    let ask = |client: &mut Client| {
        let answer = client.get("/turn3/x");
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.fetch_add(1, SeqCst);
        answer
    };
    let (early, late) = std::thread::scope(|scope| {
        let stop = Stop(&done);
        let kept = || {
            let mut client = Client::connect(first);
            while running() {
                if is_last(&ask(&mut client)) {
                    client = Client::connect(first);
                }
            }
        };
        scope.spawn(kept);
        scope.spawn(kept);
        scope.spawn(|| {
            while running() {
                assert_eq!(get(first, "/").status, 200);
                answered.fetch_add(1, SeqCst);
            }
        });
        // Of the listener that comes and goes: a connection that was accepted is told before it ends.
        scope.spawn(|| {
            while running() {
                let Some(mut client) = Client::try_connect(second) else {
                    std::thread::yield_now();
                    continue;
                };
                // In the moment in which a listening socket is closed, the kernel may have let somebody in whom nobody has
                // accepted: who has been answered once was accepted.
                client.try_send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
                let Ok(begun) = client.try_response() else { continue };
                assert_eq!(begun.status, 200);
                let mut last = begun;
                while running() && !is_last(&last) {
                    last = ask(&mut client);
                }
            }
        });
        let warm = (count / 3 / CYCLE).max(2) * CYCLE;
        (1..=warm).for_each(|turn| put(&weir, &site(&apps, second, turn)));
        let early = held(&weir);
        let begun = Instant::now();
        (1..=count).for_each(|turn| put(&weir, &site(&apps, second, turn)));
        println!("{count} reloads in {:?}", begun.elapsed());
        let late = held(&weir);
        drop(stop);
        (early, late)
    });
    println!("{} requests: {early:?} then {late:?}", answered.load(SeqCst));
    assert!(answered.load(SeqCst) > count, "there was load: {answered:?}");
    // A snapshot with its peers is 200 KiB and more. Allocators keep some, and the load is never quite the same.
    let grown = late.memory.saturating_sub(early.memory);
    let bound = (8 << 20) + count as u64 * (16 << 10);
    assert!(grown < bound, "{grown} bytes more after {count} reloads: {early:?} {late:?}");
    assert!(late.descriptors <= early.descriptors + 32, "{early:?} {late:?}");
    assert_eq!(late.threads, early.threads);
}

/// Ends the load even when a reload fails, so that the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// 10,000 servers of which `apps` answer and the others are backups at this port.
fn ten_thousand(app: &Backend, weight: u32, port: u16) -> Site {
    let spare = (1..10_000).map(|n| {
        format!("{{ address = \"127.77.{}.{}:{port}\", weight = {weight}, backup = true }}", n / 250, 1 + n % 250)
    });
    let first = format!("\"{}\"", app.address());
    Site::servers(std::iter::once(first).chain(spare)).top("workers = 2\naccess_log = \"off\"")
}

#[test]
fn a_group_of_10000_reloads_while_requests_go_on() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = ten_thousand(&a, 1, 9).start();
    let (address, done) = (weir.address(), AtomicBool::new(false));
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !done.load(SeqCst) {
                    let answer = client.get("/");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered.fetch_add(1, SeqCst);
                    // After `keepalive_requests` of them.
                    if is_last(&answer) {
                        client = Client::connect(address);
                    }
                }
            });
        }
        eventually("there is load", || answered.load(SeqCst) > 10);
        let turns = [
            ("one peer is another", ten_thousand(&b, 1, 9)),
            ("all weights are others", ten_thousand(&b, 2, 9)),
            ("all peers are others", ten_thousand(&a, 2, 10)),
        ];
        for (what, site) in turns {
            weir.edit(&site.toml());
            let (mark, before, begun) = (weir.mark(), answered.load(SeqCst), Instant::now());
            weir.sighup();
            weir.wait_since(mark, "the reload", |line| line.contains("upstream.toml is in force"));
            let (took, meanwhile) = (begun.elapsed(), answered.load(SeqCst) - before);
            println!("10,000 peers, {what}: in force after {took:?}, {meanwhile} requests answered meanwhile");
            // A worker that waited for the reload would have answered what was under way, and no more.
            assert!(meanwhile > 2, "{what}: {meanwhile} requests in {took:?}");
        }
        drop(stop);
    });
    assert_eq!(weir.get("/").text(), "a");
}
