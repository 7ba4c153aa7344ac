//! What is sent again, and where? Only what is safe to send twice, only elsewhere, and never more often than allowed.

use std::time::{Duration, Instant};

use crate::support::{Backend, Script, Site, eventually};

fn ab() -> [Backend; 2] {
    ["a", "b"].map(Backend::start)
}

fn closing() -> Script {
    Script::new().read_body().close()
}

#[test]
fn a_post_that_was_refused_is_sent_elsewhere() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).start();
    a.stop();
    assert_eq!(weir.client().post("/", "body").text(), "b");
    assert_eq!(b.only_request().body, b"body");
    let line = weir.wait_for_access("the request", |line| line.contains("POST / "));
    let both = format!("{}, {}", a.address(), b.address());
    assert!(line.contains(&both), "the access log lists both attempts: {line}");
    assert!(line.contains("502, 200"), "and what became of them: {line}");
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    for (script, status) in
        [(closing(), 502), (Script::new().read_body().reset(), 502), (Script::raw("nonsense\r\n\r\n").close(), 502)]
    {
        let [a, b] = ab();
        let weir = Site::of([&a, &b]).location("proxy_next_upstream = \"error timeout invalid_header\"").start();
        a.next(script);
        assert_eq!(weir.client().post("/", "body").status, status);
        assert_eq!((a.requests().len(), b.requests().len()), (1, 0));
    }
}

#[test]
fn a_post_is_sent_again_where_the_user_allows_it() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_next_upstream = \"error timeout non_idempotent\"").start();
    a.next(closing());
    assert_eq!(weir.client().post("/", "body").text(), "b");
    assert_eq!(b.only_request().body, b"body");
}

#[test]
fn methods_that_may_be_repeated_are_sent_elsewhere_with_their_body() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        for script in [closing(), Script::new().read_body().reset()] {
            let [a, b] = ab();
            let weir = Site::of([&a, &b]).start();
            a.next(script);
            let mut client = weir.client();
            client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"));
            let response = if method == "HEAD" { client.response_to_head() } else { client.response() };
            assert_eq!(response.status, 200, "{method}");
            assert_eq!((a.requests().len(), b.only_request().body), (1, b"body".to_vec()), "{method}");
        }
    }
}

#[test]
fn methods_that_nobody_knows_are_not_repeated() {
    for method in ["PATCH", "LOCK", "FROBNICATE"] {
        let [a, b] = ab();
        let weir = Site::of([&a, &b]).start();
        a.next(closing());
        let mut client = weir.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(client.response().status, 502, "{method}");
        assert_eq!(b.requests().len(), 0, "{method}");
    }
}

#[test]
fn a_large_body_that_went_out_is_not_repeated() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).top("client_body_buffer_size = \"1k\"").start();
    a.next(closing());
    let mut client = weir.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000)));
    assert_eq!(client.response().status, 502);
    assert_eq!(b.requests().len(), 0);
}

#[test]
fn a_status_is_tried_elsewhere_only_if_named() {
    for (named, expected) in [("", 500), (" http_500", 200)] {
        let [a, b] = ab();
        let weir = Site::of([&a, &b]).location(&format!("proxy_next_upstream = \"error timeout{named}\"")).start();
        a.next(Script::status(500));
        assert_eq!(weir.get("/").status, expected, "named:{named}");
        let counted = weir.log().iter().any(|line| line.contains("unavail"));
        if expected == 500 {
            assert!(!counted, "a status that is not named is the application's own matter");
        } else {
            weir.wait_for_state(a.address(), "unavail");
        }
    }
}

#[test]
fn the_last_true_answer_is_passed_on() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_next_upstream = \"error timeout http_500 http_503\"").start();
    a.next(Script::new().read_body().answer(503, "X-From: a\r\n", "a is busy"));
    b.next(closing());
    let response = weir.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "a is busy"), "not an invented 502");
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_next_upstream = \"error timeout http_500 http_503\"").start();
    a.next(Script::status(503));
    b.next(Script::status(500));
    assert_eq!(weir.get("/").status, 500);
}

#[test]
fn a_named_404_is_tried_elsewhere_and_never_counted() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_next_upstream = \"error timeout http_404\"").start();
    a.usually(Script::status(404));
    assert_eq!(weir.rotation(6), "bbbbbb");
    assert!(a.requests().len() >= 3, "a stays in the rotation");
    assert!(!weir.log().iter().any(|line| line.contains("unavail")));
}

#[test]
fn off_means_that_nothing_is_sent_again() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_next_upstream = \"off\"").start();
    a.stop();
    assert_eq!(weir.get("/").status, 502);
    assert_eq!(b.requests().len(), 0);
}

#[test]
fn tries_limits_the_attempts() {
    for (tries, reached) in [(1, 1), (2, 2), (0, 4)] {
        let peers = ["a", "b", "c", "d", "e"].map(Backend::start);
        let [a, b, c, d, e] = &peers;
        let weir = Site::of([a, b, c, d, e]).location(&format!("proxy_next_upstream_tries = {tries}")).start();
        for peer in &peers {
            peer.usually(closing());
        }
        assert_eq!(weir.get("/").status, 502);
        let attempts: Vec<usize> = peers.iter().map(|peer| peer.requests().len()).collect();
        assert_eq!(attempts.iter().sum::<usize>(), reached, "tries {tries}: {attempts:?}");
        assert!(attempts.iter().all(|count| *count <= 1), "never twice on one peer: {attempts:?}");
    }
}

#[test]
fn peers_that_cannot_be_connected_to_are_no_tries() {
    let peers = ["a", "b", "c", "d", "e"].map(Backend::start);
    let [a, b, c, d, e] = &peers;
    let weir = Site::of([a, b, c, d, e]).start();
    for gone in [a, b, c, d] {
        gone.stop();
    }
    assert_eq!(weir.get("/").text(), "e");
}

#[test]
fn no_retry_begins_after_the_time_for_retries() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_next_upstream_timeout = \"200ms\"").start();
    a.next(Script::new().read_body().pause(Duration::from_millis(600)).close());
    assert_eq!(weir.get("/").status, 502);
    assert_eq!(b.requests().len(), 0);
}

#[test]
fn a_retry_budget_of_nothing_allows_none_but_those_of_failed_connects() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b])
        .upstream("retry_budget = { percent = 0, min_per_second = 0 }")
        .location("proxy_next_upstream = \"error timeout\"")
        .start();
    a.next(closing());
    assert_eq!(weir.get("/").status, 502);
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).upstream("retry_budget = { percent = 0, min_per_second = 0 }").start();
    a.stop();
    assert_eq!(weir.get("/").text(), "b");
}

#[test]
fn a_read_that_takes_too_long_is_tried_elsewhere() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).location("proxy_read_timeout = \"300ms\"").start();
    a.next(Script::hanging());
    assert_eq!(weir.get("/").text(), "b");
    weir.wait_for_state(a.address(), "unavail");
}

// --- pooled connections that died

#[test]
fn a_pooled_connection_that_was_closed_while_idle_costs_nothing() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("workers = 1").start();
    let mut client = weir.client();
    assert_eq!(client.get("/").text(), "a");
    a.close_connections();
    assert_eq!(client.get("/").text(), "a");
    a.close_connections();
    assert_eq!(client.post("/", "body").text(), "a");
    assert_eq!(a.requests().len(), 3, "each was delivered once");
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "it blames nobody");
}

#[test]
fn a_get_that_met_a_dying_connection_is_repaired_on_a_new_one_to_the_same_peer() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).top("workers = 1").start();
    let mut client = weir.client();
    assert_eq!(client.get("/").text() + &client.get("/").text(), "ab");
    // The backend gives the connection up in the moment in which the request arrives on it.
    a.next(closing());
    assert_eq!(client.get("/").text(), "a", "repaired, and not elsewhere");
    assert_eq!(a.requests().len(), 3);
    assert_eq!((a.connections(), b.requests().len()), (2, 1));
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "a stale connection blames nobody");
}

#[test]
fn a_post_that_met_a_dying_connection_is_never_delivered_twice() {
    for _ in 0..5 {
        let a = Backend::start("a");
        let weir = Site::of([&a]).top("workers = 1").start();
        let mut client = weir.client();
        assert_eq!(client.get("/").text(), "a");
        a.next(closing());
        assert_eq!(client.post("/", "body").status, 502);
        let delivered = a.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(delivered, 1);
    }
}

#[test]
fn all_connections_dying_at_once_cost_no_get() {
    let [a, b] = ab();
    let weir = Site::of([&a, &b]).top("workers = 2").start();
    let mut clients: Vec<_> = (0..8).map(|_| weir.client()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200);
        }
        a.close_connections();
        b.close_connections();
    }
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn the_backends_keep_alive_time_is_learned() {
    let a = Backend::start("a");
    a.usually(Script::new().read_body().answer(200, "Keep-Alive: timeout=2\r\n", "a"));
    let weir = Site::of([&a]).top("workers = 1").start();
    let mut client = weir.client();
    assert_eq!(client.get("/").text(), "a");
    let begun = Instant::now();
    eventually("weir gives the connection up before the backend would", || a.open_connections() == 0);
    assert!(begun.elapsed() <= Duration::from_millis(2500), "{:?}", begun.elapsed());
}
