//! Does the client ever see a dead backend? Probes and traffic take peers out and bring them back.

use std::time::{Duration, Instant};

use crate::support::{Backend, Gate, PATIENCE, Script, Site, eventually, sorted};

#[test]
fn a_backend_whose_health_answers_500_leaves_and_returns() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).checked("fails = 2\npasses = 2").start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    assert_eq!(sorted(&weir.rotation(4)), "aabb");

    let mark = weir.mark();
    b.health(Script::status(500));
    let line = weir.wait_for_state_since(mark, b.address(), "unhealthy");
    assert!(line.contains("500"), "the log gives its evidence: {line}");
    assert_eq!(weir.rotation(6), "aaaaaa");

    let mark = weir.mark();
    b.health(Script::text("ok"));
    weir.wait_for_state_since(mark, b.address(), "up");
    assert_eq!(sorted(&weir.rotation(6)), "aaabbb");
}

#[test]
fn a_peer_gets_no_traffic_before_its_first_passed_probe() {
    let [a, b] = ["a", "b"].map(Backend::start);
    a.health(Script::status(503));
    let weir = Site::of([&a, &b]).checked("").start();
    weir.wait_for_state(b.address(), "up");
    assert_eq!(weir.rotation(6), "bbbbbb");
    assert_eq!(a.requests().len(), 0);
    a.health(Script::text("ok"));
    weir.wait_for_state(a.address(), "up");
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn requests_at_start_wait_for_the_first_verdict_instead_of_failing() {
    let a = Backend::start("a");
    a.health(Script::new().read_body().pause(Duration::from_millis(100)).answer(200, "", "ok"));
    let weir = Site::of([&a]).checked("").start();
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn a_404_from_health_is_explained() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).checked("fails = 1").start();
    weir.wait_for_state(a.address(), "up");
    let mark = weir.mark();
    a.health(Script::status(404));
    let line = weir.wait_for_state_since(mark, a.address(), "unhealthy");
    assert!(line.contains("404") && line.contains("the application has no such route"), "{line}");
}

#[test]
fn a_frozen_backend_is_found_by_its_probes() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).checked("fails = 2\npasses = 1").start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    a.freeze();
    weir.wait_for_state(a.address(), "unhealthy");
    assert_eq!(weir.rotation(6), "bbbbbb");
    let mark = weir.mark();
    a.thaw();
    weir.wait_for_state_since(mark, a.address(), "up");
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn a_get_waiting_for_a_backend_that_turns_unreachable_is_answered_by_another() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).checked("fails = 2").start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    a.freeze();
    b.freeze();
    let mut clients = [weir.client(), weir.client()];
    let begun = Instant::now();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    }
    b.thaw();
    for client in &mut clients {
        assert_eq!(client.response().text(), "b");
    }
    // The read time-out is 60 s: whoever waited for a was not left to it.
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_refusing_backend_costs_no_get_and_is_left_alone_for_fail_timeout() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir =
        Site::servers([&a, &b].map(|peer| format!("{{ address = \"{}\", fail_timeout = \"1s\" }}", peer.address())))
            .start();
    a.stop();
    assert_eq!(weir.rotation(4), "bbbb");
    let line = weir.wait_for_state(a.address(), "unavail");
    assert!(line.contains("refused"), "the log gives its evidence: {line}");
    a.restart();
    eventually("its trial succeeds", || weir.get("/").text() == "a");
    weir.wait_for_state(a.address(), "up");
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn max_fails_failures_within_fail_timeout_take_a_peer_out_and_fewer_do_not() {
    let [a, b] = ["a", "b"].map(Backend::start);
    // Without pooled connections: one that closes may just have been stale, and then counts for nothing.
    let weir = Site::servers([&a, &b].map(|peer| format!("{{ address = \"{}\", max_fails = 3 }}", peer.address())))
        .upstream("keepalive = 0")
        .start();
    for _ in 0..2 {
        a.next(Script::new().read_body().close());
    }
    assert!(weir.rotation(8).contains('a'), "two failures are repaired, then a serves again");
    assert!(!weir.log().iter().any(|line| line.contains("unavail")));
    a.next(Script::new().read_body().close());
    weir.rotation(2);
    weir.wait_for_state(a.address(), "unavail");
    assert_eq!(weir.rotation(4), "bbbb");
}

#[test]
fn max_fails_0_never_takes_a_peer_out() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir =
        Site::servers([&a, &b].map(|peer| format!("{{ address = \"{}\", max_fails = 0 }}", peer.address()))).start();
    a.usually(Script::new().read_body().close());
    assert_eq!(weir.rotation(10), "bbbbbbbbbb");
    assert!(a.requests().len() >= 5, "a is still asked: {}", a.requests().len());
}

#[test]
fn soft_failures_eject_at_most_half_of_the_pool() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Backend::start);
    let weir = Site::of([&a, &b, &c, &d]).start();
    for peer in [&a, &b, &c, &d] {
        peer.usually(Script::new().read_body().close());
    }
    for _ in 0..8 {
        assert_eq!(weir.get("/").status, 502);
    }
    weir.wait_for("a third failing peer is kept", |line| line.contains("kept"));
    let out = weir.log().iter().filter(|line| line.contains("→ unavail")).count();
    assert_eq!(out, 2, "two of four");
}

#[test]
fn the_last_ones_are_tried_rather_than_refused() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir =
        Site::servers([&a, &b].map(|peer| format!("{{ address = \"{}\", fail_timeout = \"1m\" }}", peer.address())))
            .start();
    a.stop();
    b.stop();
    assert_eq!(weir.get("/").status, 502);
    weir.wait_for_state(a.address(), "unavail");
    weir.wait_for_state(b.address(), "unavail");
    assert_eq!(weir.get("/").status, 502, "tried, and failed again");
    a.restart();
    b.restart();
    assert_eq!(weir.get("/").status, 200, "a minute is not waited for");
    assert_eq!(weir.rotation(4).len(), 4);
}

#[test]
fn when_all_applications_say_no_the_client_hears_503_and_when_to_come_back() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).checked("fails = 1\npasses = 1").start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    let mark = weir.mark();
    a.health(Script::status(500));
    b.health(Script::status(500));
    weir.wait_for_state_since(mark, a.address(), "unhealthy");
    weir.wait_for_state_since(mark, b.address(), "unhealthy");
    let begun = Instant::now();
    let refused = weir.get("/");
    assert_eq!(refused.status, 503);
    assert!((1..=60).contains(&refused.retry_after().expect("Retry-After")), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!(a.requests().len() + b.requests().len(), 0);
    a.health(Script::text("ok"));
    eventually("one is back", || weir.get("/").text() == "a");
}

#[test]
fn when_all_fail_last_resort_tries_them_all_the_same() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).upstream("when_all_fail = \"last_resort\"").checked("fails = 1").start();
    weir.wait_for_state(a.address(), "up");
    let mark = weir.mark();
    a.health(Script::status(500));
    weir.wait_for_state_since(mark, a.address(), "unhealthy");
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn a_client_that_leaves_blames_nobody() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    let gate = Gate::default();
    a.next(Script::new().read_body().gate(&gate).answer(200, "", "late"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("the request is with a", || a.requests().len() == 1);
    drop(client);
    gate.open();
    assert_eq!(weir.get("/").text(), "a");
    assert!(!weir.log().iter().any(|line| line.contains("unavail")));
}

#[test]
fn a_check_may_look_at_status_fields_and_body() {
    let [good, bad] = ["good", "bad"].map(Backend::start);
    good.health(Script::new().read_body().answer(200, "Content-Type: application/json\r\n", "{\"state\": \"ready\"}"));
    bad.health(Script::new().read_body().answer(200, "Content-Type: application/json\r\n", "{\"state\": \"loading\"}"));
    let weir = Site::of([&good, &bad])
        .checked(
            "match = { status = \"200-299\", headers = { content-type = \"~ json\" }, body = '~ \"state\": \"ready\"' }",
        )
        .start();
    weir.wait_for_state(good.address(), "up");
    eventually("bad was probed", || bad.probes() > 1);
    assert_eq!(weir.get("/").text(), "good");
    assert_eq!(bad.requests().len(), 0);
}

#[test]
fn a_tcp_check_asks_only_for_a_connection() {
    let [a, b] = ["a", "b"].map(Backend::start);
    b.stop();
    let weir = Site::of([&a, &b])
        .rest("[upstream.web.health_check]\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"500ms\"")
        .start();
    weir.wait_for_state(a.address(), "up");
    assert_eq!(weir.rotation(4), "aaaa");
    b.restart();
    weir.wait_for_state(b.address(), "up");
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
    assert_eq!(a.probes() + b.probes(), 0);
}
