//! Does a share of the requests go where the file says? `split`, as for canaries, and `mirror`.

use crate::support::{Backend, Gate, Script, Site, Weir, eventually};

/// A site with a second upstream, `v2`, and what its location says of it.
fn shared(application: &Backend, second: &Backend, location: &str) -> Site {
    let servers = format!("[upstream.v2]\nservers = [\"{}\"]", second.address());
    Site::of([application])
        .top("workers = 2\nlog_format = \"$request_uri $status $upstream_name $upstream_addr\"")
        .location(location)
        .rest(&servers)
}

fn keyed(weir: &Weir, key: &str) -> String {
    let mut client = weir.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nX-Key: {key}\r\n\r\n"));
    client.response().text()
}

#[test]
fn a_share_in_turn_is_spread_evenly_over_all_workers() {
    let [a, b] = ["a", "b"].map(Backend::start);
    for (percent, of, expected) in [("0", 10, 0..=0), ("20", 20, 3..=5), ("\"50%\"", 20, 9..=11), ("100", 10, 10..=10)]
    {
        let weir = shared(&a, &b, &format!("split = [{{ upstream = \"v2\", percent = {percent} }}]")).start();
        let count = weir.rotation(of).matches('b').count();
        assert!(expected.contains(&count), "{count} of {of} for {percent}");
    }
}

#[test]
fn a_key_keeps_a_client_with_its_share_as_nginx_would() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let split = "split = [{ upstream = \"v2\", percent = \"12.5%\" }]\nsplit_key = \"$http_x_key\"";
    let weir = shared(&a, &b, split).start();
    // Their hashes begin with 0x92, 0x1a, 0x13, 0x26; an eighth ends before 0x20.
    for (key, expected) in [("a", "a"), ("ab", "b"), ("abc", "b"), ("abcd", "a")] {
        for _ in 0..3 {
            assert_eq!(keyed(&weir, key), expected, "{key}");
        }
    }
    weir.wait_for_access("the group that answered", |line| line == format!("/ 200 v2 {}", b.address()));
}

#[test]
fn a_share_that_fails_is_not_hidden_and_blames_only_itself() {
    let [a, b] = ["a", "b"].map(Backend::start);
    b.stop();
    let weir = shared(&a, &b, "split = [{ upstream = \"v2\", percent = 50 }]\nsplit_key = \"$http_x_key\"").start();
    assert!(keyed(&weir, "ab").contains("502"));
    assert_eq!(keyed(&weir, "a"), "a");
}

/// Waits until the copies that were made have come.
fn copies(shadow: &Backend, count: usize) {
    eventually("the copies", || shadow.requests().iter().filter(|request| request.complete).count() == count);
}

#[test]
fn a_mirror_gets_the_whole_request_and_the_client_never_its_answer() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    shadow.usually(Script::new().read_body().answer(500, "Set-Cookie: shadow=1\r\n", "not for you"));
    let weir = shared(&a, &shadow, "mirror = { upstream = \"v2\" }").start();
    let mut client = weir.client();
    let answer = client.post("/x?y=z", "the body");
    assert_eq!((answer.status, answer.text().as_str(), answer.field("set-cookie")), (200, "a", None));
    client
        .send("POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.get("/get").text(), "a");
    copies(&shadow, 3);
    for (mine, its) in a.requests().iter().zip({
        let mut copied = shadow.requests();
        copied.sort_by_key(|copy| ["/x?y=z", "/chunks", "/get"].iter().position(|target| *target == copy.target));
        copied
    }) {
        assert_eq!((&mine.method, &mine.target, &mine.body), (&its.method, &its.target, &its.body));
        assert_eq!(mine.field("x-forwarded-for"), its.field("x-forwarded-for"));
        assert_eq!(mine.field("host"), its.field("host"));
    }
    // The log tells of requests, not of copies.
    weir.wait_for_access("the last", |line| line.starts_with("/get 200 web "));
}

#[test]
fn a_share_of_the_requests_is_copied_and_also_what_a_split_takes() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let shadow = Backend::start("shadow");
    let weir = shared(
        &a,
        &b,
        "split = [{ upstream = \"v2\", percent = 100 }]\nmirror = { upstream = \"shadow\", percent = 50 }",
    )
    .rest(&format!("[upstream.shadow]\nservers = [\"{}\"]", shadow.address()))
    .start();
    assert_eq!(weir.rotation(20), "b".repeat(20));
    eventually("half of them", || (9..=11).contains(&shadow.requests().len()));
}

#[test]
fn a_mirror_that_never_answers_delays_nobody_and_its_copies_are_bounded() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    let gate = Gate::default();
    shadow.usually(Script::new().read_body().gate(&gate).answer(200, "", "late"));
    let weir = shared(&a, &shadow, "mirror = { upstream = \"v2\", max = 2, timeout = \"1h\" }").start();
    let mut client = weir.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "a");
    }
    copies(&shadow, 2);
    weir.wait_for("the copies that were not made", |line| {
        line.contains("a request to web was not mirrored: as many as `max` allows are under way")
    });
    gate.open();
    eventually("there is room again", || {
        client.get("/");
        shadow.requests().len() > 2
    });
}

#[test]
fn a_mirror_that_fails_is_blamed_alone() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    shadow.stop();
    let weir = shared(&a, &shadow, "mirror = { upstream = \"v2\" }").start();
    assert_eq!(weir.get("/").text(), "a");
    weir.wait_for_state(shadow.address(), "unavail");
    assert_eq!(weir.rotation(3), "aaa");
}

#[test]
fn a_silent_mirror_is_given_up_after_its_own_time() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    shadow.usually(Script::hanging());
    let weir = shared(&a, &shadow, "mirror = { upstream = \"v2\", timeout = \"100ms\" }").start();
    assert_eq!(weir.get("/").text(), "a");
    weir.wait_for("whom that blames", |line| line.contains("v2: ") && line.contains("no answer within 100ms"));
    eventually("its connection is closed", || shadow.open_connections() == 0);
}

#[test]
fn a_long_answer_of_a_mirror_is_thrown_away() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    let length = 8 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    shadow.usually(Script::new().read_body().send(head).stream(length));
    let weir = shared(&a, &shadow, "mirror = { upstream = \"v2\" }").start();
    assert_eq!(weir.get("/").text(), "a");
    eventually("all of it was read", || shadow.streamed() == length);
}

#[test]
fn a_body_that_is_not_gathered_is_not_copied() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    let weir = shared(&a, &shadow, "mirror = { upstream = \"v2\" }").top("client_body_buffer_size = \"1k\"").start();
    let mut client = weir.client();
    assert_eq!(client.post("/", &"x".repeat(64 << 10)).text(), "a");
    assert_eq!(a.only_request().body_length, 64 << 10);
    weir.wait_for("why", |line| line.contains("not mirrored: its body is longer than client_body_buffer_size"));
    assert_eq!(client.post("/", "short").text(), "a");
    copies(&shadow, 1);
    assert_eq!(shadow.only_request().body, b"short");
}

#[test]
fn copies_under_way_do_not_keep_weir_from_stopping() {
    let [a, shadow] = ["a", "shadow"].map(Backend::start);
    shadow.usually(Script::hanging());
    let mut weir = shared(&a, &shadow, "mirror = { upstream = \"v2\", timeout = \"1h\" }")
        .top("shutdown_timeout = \"1h\"")
        .start();
    assert_eq!(weir.get("/").text(), "a");
    eventually("the copy has come", || shadow.requests().len() == 1);
    weir.sigterm();
    assert!(weir.wait_exit().success());
}
