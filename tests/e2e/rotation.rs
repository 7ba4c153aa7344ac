//! Which peer answers next, as a user with `curl` sees it? The exact order of nginx, whatever the number of workers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::{Backend, Client, Gate, Response, Script, Site, Weir, eventually};

fn abc() -> [Backend; 3] {
    ["a", "b", "c"].map(Backend::start)
}

fn entries(backends: &[Backend], parameters: [&str; 3]) -> Vec<String> {
    let pairs = backends.iter().zip(parameters);
    pairs.map(|(backend, more)| format!("{{ address = \"{}\"{more} }}", backend.address())).collect()
}

#[test]
fn thirty_separate_connections_see_1_2_3_with_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let [a, b, c] = abc();
        let weir = Site::of([&a, &b, &c]).top(&format!("workers = {workers}")).start();
        assert_eq!(weir.rotation(30), "abc".repeat(10), "{workers} workers");
    }
}

#[test]
fn the_order_goes_on_across_connections_that_are_kept() {
    let [a, b, c] = abc();
    let weir = Site::of([&a, &b, &c]).top("workers = 2").start();
    let (mut one, mut other) = (weir.client(), weir.client());
    let seen: String = (0..6).map(|_| one.get("/").text() + &other.get("/").text()).collect();
    assert_eq!(seen, "abcabcabcabc");
}

#[test]
fn weights_are_spread_smoothly() {
    for (weights, period) in [([5, 1, 1], "aabacaa"), ([3, 2, 1], "abacba"), ([2, 1, 1], "abca")] {
        let backends = abc();
        let parameters = weights.map(|weight| format!(", weight = {weight}"));
        let [x, y, z] = &parameters;
        let weir = Site::servers(entries(&backends, [x, y, z])).top("workers = 2").start();
        assert_eq!(weir.rotation(2 * period.len()), period.repeat(2), "weights {weights:?}");
    }
}

#[test]
fn a_server_that_is_down_or_draining_gets_nothing() {
    for state in [", down = true", ", drain = true"] {
        let backends = abc();
        let weir = Site::servers(entries(&backends, ["", state, ""])).start();
        assert_eq!(weir.rotation(8), "acacacac", "{state}");
        assert_eq!(backends[1].connections(), 0, "{state}");
    }
}

#[test]
fn a_backup_serves_only_while_no_primary_can() {
    let backends = abc();
    let [a, b, _] = &backends;
    let weir =
        Site::servers(entries(&backends, [", fail_timeout = \"1s\"", ", fail_timeout = \"1s\"", ", backup = true"]))
            .start();
    assert_eq!(weir.rotation(4), "abab");
    a.stop();
    b.stop();
    assert_eq!(weir.rotation(6), "cccccc");
    a.restart();
    b.restart();
    weir_returns(&weir, "ab");
    assert!(!weir.rotation(10).contains('c'));
}

#[test]
fn hash_maps_a_key_as_memcached_clients_do() {
    let [a, b, c] = abc();
    let weir = Site::of([&a, &b, &c]).upstream("balance = \"hash $arg_key\"").top("workers = 2").start();
    let keys = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "foo", "user42"];
    let seen: String = keys.iter().map(|key| weir.get(&format!("/?key={key}")).text()).collect();
    assert_eq!(seen, "bcbabaaccaba");
}

#[test]
fn a_consistent_hash_moves_only_the_keys_of_the_peer_that_left() {
    let [a, b, c] = abc();
    let weir = Site::of([&a, &b, &c]).upstream("balance = \"hash $arg_key consistent\"").start();
    let owners = || -> Vec<String> { (0..60).map(|key| weir.get(&format!("/?key={key}")).text()).collect() };
    let before = owners();
    assert_eq!(owners(), before, "a key stays where it is");
    b.stop();
    let after = owners();
    for (key, (was, is)) in before.iter().zip(&after).enumerate() {
        match was.as_str() {
            "b" => assert_ne!(is, "b", "key {key}"),
            _ => assert_eq!(is, was, "key {key}"),
        }
    }
    assert!(before.iter().any(|owner| owner == "b"), "60 keys reach each of three peers");
}

#[test]
fn two_weirs_with_one_file_pick_alike() {
    let [a, b, c] = abc();
    for balance in ["hash $arg_key", "hash $arg_key consistent", "ip_hash"] {
        let site = Site::of([&a, &b, &c]).upstream(&format!("balance = \"{balance}\""));
        let (one, other) = (site.start(), site.clone().top("workers = 2").start());
        let picks = |weir: &Weir| -> String {
            let from = |n: u8| Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, n, 9)), weir.address());
            (1..=30).map(|n| from(n).get(&format!("/?key={n}")).text()).collect()
        };
        let picked = picks(&one);
        assert_eq!(picks(&other), picked, "{balance}");
        assert!("abc".chars().all(|name| picked.contains(name)), "{balance}: {picked}");
    }
}

#[test]
fn ip_hash_goes_by_the_first_three_bytes_of_the_client() {
    let clients = || (1..=8).map(|third| IpAddr::V4(Ipv4Addr::new(127, 0, third, 9)));
    for (second, expected) in [("", "abcabcab"), (", down = true", "aacaacaa")] {
        let backends = abc();
        let weir = Site::servers(entries(&backends, ["", second, ""])).upstream("balance = \"ip_hash\"").start();
        let seen: String = clients().map(|ip| get_from(ip, &weir).text()).collect();
        assert_eq!(seen, expected, "b{second}");
    }
}

#[test]
fn least_conn_avoids_the_peer_that_is_busy() {
    let [a, b, c] = abc();
    let weir = Site::of([&a, &b, &c]).upstream("balance = \"least_conn\"").top("workers = 2").start();
    let gate = Gate::default();
    a.on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "a"));
    let mut slow = weir.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("the slow request is with a", || a.requests().len() == 1);
    let others = weir.rotation(6);
    assert_eq!(others, "bcbcbc", "a holds one request, the others none");
    gate.open();
    assert_eq!(slow.response().text(), "a");
    eventually("a is used again", || weir.rotation(3).contains('a'));
}

#[test]
fn random_uses_every_peer() {
    for balance in ["random", "random two", "random two least_conn", "random two least_time=header"] {
        let [a, b, c] = abc();
        let weir = Site::of([&a, &b, &c]).upstream(&format!("balance = \"{balance}\"")).start();
        let counts = count(&weir.rotation(90));
        // Each of 90 draws misses a peer with 2/3: a peer left out entirely is a one in 10^15 event.
        assert_eq!(counts.len(), 3, "{balance}: {counts:?}");
    }
}

#[test]
fn least_time_prefers_the_peer_that_answers_soonest() {
    for balance in ["least_time header", "least_time last_byte", "least_time header inflight"] {
        let [a, b, c] = abc();
        a.usually(Script::new().read_body().pause(Duration::from_millis(150)).answer(200, "", "a"));
        let weir = Site::of([&a, &b, &c]).upstream(&format!("balance = \"{balance}\"")).start();
        let counts = count(&weir.rotation(60));
        let slow = counts.get(&'a').copied().unwrap_or(0);
        assert!((1..=10).contains(&slow), "{balance}: a is slow and got {counts:?}");
    }
}

#[test]
fn max_conns_sends_the_next_request_elsewhere_and_answers_503_when_all_are_full() {
    let backends = abc();
    let [a, b, c] = &backends;
    let full = ", max_conns = 1";
    let weir = Site::servers(entries(&backends, [full, full, full])).top("workers = 2").start();
    let gate = Gate::default();
    for backend in [a, b, c] {
        backend.on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "late"));
    }
    let mut held: Vec<Client> = Vec::new();
    for count in 1..=3 {
        let mut client = weir.client();
        client.send("GET /slow HTTP/1.1\r\nHost: weir.test\r\n\r\n");
        held.push(client);
        eventually("one more is held", || [a, b, c].iter().map(|b| b.requests().len()).sum::<usize>() == count);
    }
    assert_eq!([a, b, c].map(|backend| backend.requests().len()), [1, 1, 1]);
    let refused = weir.get("/");
    assert_eq!(refused.status, 503);
    assert!((1..=60).contains(&refused.retry_after().expect("a 503 of weir says when to come back")));
    gate.open();
    for client in &mut held {
        assert_eq!(client.response().text(), "late");
    }
    eventually("there is room again", || weir.get("/").status == 200);
}

#[test]
fn a_queue_lets_as_many_wait_for_room_as_it_has_places() {
    let [a, _, _] = abc();
    let weir = Site::servers([format!("{{ address = \"{}\", max_conns = 1 }}", a.address())])
        .upstream("queue = { size = 2, timeout = \"30s\" }")
        .top("workers = 2")
        .start();
    let gate = Gate::default();
    a.on("/first", Script::new().read_body().gate(&gate).answer(200, "", "first"));
    let mut first = weir.client();
    first.send("GET /first HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("a is full", || a.requests().len() == 1);
    let mut waiting: Vec<Client> = (0..5).map(|_| weir.client()).collect();
    for client in &mut waiting {
        client.send("GET /later HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    }
    let mut refused = 0;
    eventually("two wait and three find no place", || {
        waiting.retain_mut(|client| {
            let silent = client.is_silent_for(Duration::from_millis(10));
            if !silent {
                assert_eq!(client.response().status, 503);
                refused += 1;
            }
            silent
        });
        refused == 3
    });
    assert_eq!(a.requests().len(), 1, "nobody overtakes the limit");
    gate.open();
    assert_eq!(first.response().text(), "first");
    for client in &mut waiting {
        assert_eq!(client.response().text(), "a");
    }
}

#[test]
fn a_queue_gives_up_after_its_time_with_503() {
    let [a, _, _] = abc();
    let weir = Site::servers([format!("{{ address = \"{}\", max_conns = 1 }}", a.address())])
        .upstream("queue = { size = 10, timeout = \"200ms\" }")
        .start();
    let gate = Gate::default();
    a.on("/first", Script::new().read_body().gate(&gate).answer(200, "", "first"));
    let mut first = weir.client();
    first.send("GET /first HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("a is full", || a.requests().len() == 1);
    let late = weir.get("/second");
    assert_eq!(late.status, 503);
    assert!(late.retry_after().is_some());
    gate.open();
    assert_eq!(first.response().text(), "first");
}

fn get_from(ip: IpAddr, weir: &Weir) -> Response {
    Client::connect_from(ip, weir.address()).get("/")
}

fn count(seen: &str) -> BTreeMap<char, usize> {
    seen.chars().fold(BTreeMap::new(), |mut counts, c| {
        *counts.entry(c).or_default() += 1;
        counts
    })
}

/// Waits until each of `names` answers.
fn weir_returns(weir: &Weir, names: &str) {
    let mut missing: Vec<char> = names.chars().collect();
    eventually("the peers are back", || {
        let answer = weir.get("/").text();
        missing.retain(|name| !answer.starts_with(*name));
        missing.is_empty()
    });
}
