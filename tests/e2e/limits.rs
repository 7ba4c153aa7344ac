//! Does nobody get more than their share? `limit_req` and `limit_conn`. Rates are so low that no slow machine refills them.

use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, Response, Script, Site, eventually};

/// A site that tells clients apart by `X-Key`, and by its path how it limits them.
fn limited(application: &Backend, rate: &str, limit: &str) -> Site {
    Site::of([application])
        .top("workers = 2\nlog_format = \"$http_x_key $status $limit_req_status $limit_conn_status $upstream_addr\"")
        .location(limit)
        .rest(&format!("[limit_req_zone.per_key]\nkey = \"$http_x_key\"\nrate = \"{rate}\"\nsize = \"32k\""))
        .rest("[limit_conn_zone.per_key]\nkey = \"$http_x_key\"")
}

fn request(key: &str) -> String {
    let field = if key.is_empty() { String::new() } else { format!("X-Key: {key}\r\n") };
    format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n")
}

fn ask(client: &mut Client, key: &str) -> Response {
    client.send(request(key));
    client.response()
}

#[test]
fn who_comes_too_fast_is_refused_and_told_when_to_come_again() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/m", "limit_req = { zone = \"per_key\" }").start();
    let mut client = weir.client();
    assert_eq!(ask(&mut client, "me").status, 200);
    let refused = ask(&mut client, "me");
    assert_eq!((refused.status, refused.text().as_str()), (503, "503 Service Unavailable: requests come too fast\n"));
    let seconds = refused.retry_after().expect("a hint");
    assert!((30..=63).contains(&seconds), "one in 62.5 s: {seconds}");
    assert_eq!(ask(&mut client, "you").status, 200, "on the same connection, somebody else");
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "").status, 200, "without a key nobody is limited");
    }
    assert_eq!(a.requests().len(), 5);
    weir.wait_for_access("who passed", |line| line.starts_with("me 200 PASSED -"));
    weir.wait_for_access("who did not", |line| line == "me 503 REJECTED - -");
    weir.wait_for_access("who was not limited", |line| line.starts_with("- 200 - -"));
    weir.wait_for("the refusal", |line| {
        line.contains("limiting requests, excess: ") && line.contains(" by zone `per_key`, client 127.0.0.1")
    });
}

#[test]
fn two_workers_share_one_bucket() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/m", "limit_req = { zone = \"per_key\", burst = 4, nodelay = true }").start();
    // Each on a connection of its own, which the kernel gives to either worker.
    let answers: Vec<u16> = (0..20).map(|_| ask(&mut weir.client(), "me").status).collect();
    assert_eq!(answers[..5], [200; 5]);
    assert_eq!(answers[5..], [503; 15]);
}

#[test]
fn a_burst_waits_for_its_turn() {
    let a = Backend::start("a");
    let weir = limited(&a, "2r/s", "limit_req = { zone = \"per_key\", burst = 2 }").start();
    let begun = Instant::now();
    let mut client = weir.client();
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "me").status, 200);
    }
    // Half a second each, counted in whole milliseconds.
    assert!(begun.elapsed() >= Duration::from_millis(990), "{:?}", begun.elapsed());
}

#[test]
fn who_leaves_while_it_waits_is_forwarded_to_nobody() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/m", "limit_req = { zone = \"per_key\", burst = 5 }").start();
    let mut client = weir.client();
    assert_eq!(ask(&mut client, "me").status, 200);
    client.send(request("me"));
    assert!(client.is_silent_for(Duration::from_millis(100)), "it waits a minute");
    drop(client);
    weir.wait_for_access("who left", |line| line == "me 499 DELAYED - -");
    assert_eq!(a.requests().len(), 1);
}

#[test]
fn a_dry_run_only_tells() {
    let a = Backend::start("a");
    let limits = "limit_req = { zone = \"per_key\" }\nlimit_req_dry_run = true\nlimit_req_log_level = \"info\"\n\
                  limit_conn = { zone = \"per_key\", connections = 1 }\nlimit_conn_dry_run = true";
    let weir = limited(&a, "1r/m", limits).start();
    let gate = Gate::default();
    a.next(Script::new().gate(&gate).answer(200, "", "late"));
    let mut first = weir.client();
    first.send(request("me"));
    eventually("it is in flight", || a.requests().len() == 1);
    assert_eq!(ask(&mut weir.client(), "me").status, 200);
    gate.open();
    assert_eq!(first.response().text(), "late");
    weir.wait_for_access("both", |line| line.starts_with("me 200 REJECTED_DRY_RUN REJECTED_DRY_RUN"));
    weir.wait_for("the dry run", |line| line.contains(" info ") && line.contains("by zone `per_key`, dry run, client"));
}

#[test]
fn the_status_may_be_another_and_a_location_may_have_no_limit() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/m", "")
        .top("limit_req = { zone = \"per_key\" }\nlimit_req_status = 429")
        .rest("[[server]]\nlisten = \"127.0.0.1:0\"\nserver_name = \"free.test\"\nlimit_req = []\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"")
        .start();
    let mut client = weir.client();
    assert_eq!([(); 3].map(|()| ask(&mut client, "me").status), [200, 429, 429]);
    let free = request("me").replace("Host: h", "Host: free.test");
    client.send(free.repeat(3));
    assert_eq!([(); 3].map(|()| client.response().status), [200; 3]);
}

#[test]
fn a_refused_request_with_a_body_ends_its_connection_in_good_order() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/m", "limit_req = { zone = \"per_key\" }").start();
    let mut client = weir.client();
    assert_eq!(ask(&mut client, "me").status, 200);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nX-Key: me\r\nContent-Length: 4\r\n\r\nbody");
    let refused = client.response();
    assert_eq!((refused.status, refused.field("connection")), (503, Some("close")));
}

#[test]
fn a_reload_keeps_what_is_known_of_clients_unless_the_key_is_another() {
    let a = Backend::start("a");
    let site = |rate: &str, key: &str, status: u16| {
        let limit = format!("limit_req = {{ zone = \"per_key\" }}\nlimit_req_status = {status}");
        limited(&a, rate, &limit).toml().replacen("key = \"$http_x_key\"", &format!("key = \"{key}\""), 1)
    };
    let weir = crate::support::Weir::start(&site("1r/m", "$http_x_key", 503));
    assert_eq!(ask(&mut weir.client(), "me").status, 200);
    for (rate, key, expected) in [("2r/m", "$http_x_key", 410), ("2r/m", "$http_x_key-", 200)] {
        let mark = weir.mark();
        weir.edit(&site(rate, key, 410));
        weir.sighup();
        weir.wait_since(mark, "the reload", |line| line.contains(" is in force"));
        assert_eq!(ask(&mut weir.client(), "me").status, expected, "{rate} {key}");
    }
}

#[test]
fn a_client_has_only_so_many_requests_in_flight() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/s", "limit_conn = { zone = \"per_key\", connections = 2 }").start();
    let gate = Gate::default();
    a.usually(Script::new().gate(&gate).answer(200, "", "late"));
    let mut waiting: Vec<Client> = (0..2).map(|_| weir.client()).collect();
    for client in &mut waiting {
        client.send(request("me"));
    }
    eventually("both are in flight", || a.requests().len() == 2);
    let refused = ask(&mut weir.client(), "me");
    assert_eq!((refused.status, refused.retry_after()), (503, Some(1)));
    // Who leaves makes room, and so does who is answered.
    drop(waiting.pop());
    weir.wait_for_access("who left", |line| line.starts_with("me 499 - PASSED"));
    let mut third = weir.client();
    third.send(request("me"));
    eventually("it is in flight", || a.requests().len() == 3);
    gate.open();
    assert_eq!(third.response().status, 200);
    assert_eq!(waiting[0].response().status, 200);
    for _ in 0..5 {
        assert_eq!(ask(&mut third, "me").status, 200);
    }
    weir.wait_for_access("the refusal", |line| line == "me 503 - REJECTED -");
}

#[test]
fn an_idle_connection_is_no_request_in_flight() {
    let a = Backend::start("a");
    let weir = limited(&a, "1r/s", "limit_conn = { zone = \"per_key\", connections = 1 }").start();
    let mut idle: Vec<Client> = (0..3).map(|_| weir.client()).collect();
    for client in &mut idle {
        // The one before may be seen by its client a moment before another worker sees that it is over.
        eventually("only it is in flight", || ask(client, "me").status == 200);
    }
}
