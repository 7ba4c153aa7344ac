//! Does one frozen backend cost a client milliseconds? Another is asked as well, once, and whoever answers first serves.

use std::time::{Duration, Instant};

use crate::support::{Backend, Gate, PATIENCE, Script, Site, eventually, sorted};

fn ab() -> [Backend; 2] {
    ["a", "b"].map(Backend::start)
}

/// A place where nothing is repaired by a retry, so that what is seen is the hedge's doing.
fn site(backends: [&Backend; 2], after: &str) -> Site {
    Site::of(backends).location(&format!("hedge_after = \"{after}\"\nproxy_next_upstream = \"off\""))
}

fn held(gate: &Gate, body: &str) -> Script {
    Script::new().read_body().gate(gate).answer(200, "", body)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n";

#[test]
fn a_frozen_backend_costs_a_client_milliseconds_and_is_not_blamed() {
    let [a, b] = ab();
    // Without idle connections: what is open is in use.
    let weir = site([&a, &b], "20ms").upstream("keepalive = 0").start();
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
    a.usually(Script::hanging());
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(weir.get("/").text(), "b");
    }
    // proxy_read_timeout is a minute.
    assert!(begun.elapsed() < PATIENCE);
    let both = format!("ua=\"{}, {}\" us=\"-, 200\"", a.address(), b.address());
    weir.wait_for_access("both addresses, the one that answered last", |line| line.contains(&both));
    eventually("whoever was left is left indeed", || a.open_connections() == 0);
    a.usually(Script::text("a"));
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:#?}", weir.log());
}

#[test]
fn the_first_one_may_still_be_the_faster() {
    let [a, b] = ab();
    let (slow, never) = (Gate::default(), Gate::default());
    a.next(held(&slow, "a"));
    b.next(held(&never, "b"));
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
    slow.open();
    assert_eq!(client.response().text(), "a");
    let both = format!("ua=\"{}, {}\" us=\"-, 200\"", b.address(), a.address());
    weir.wait_for_access("both addresses, the one that answered last", |line| line.contains(&both));
    never.open();
    // Nothing of b's answer is left anywhere.
    for _ in 0..4 {
        assert!(["a", "b"].contains(&client.get("/").text().as_str()));
    }
}

#[test]
fn if_the_first_fails_meanwhile_the_second_answers() {
    let [a, b] = ab();
    let (breaks, answers) = (Gate::default(), Gate::default());
    a.next(Script::new().read_body().gate(&breaks).close());
    b.next(held(&answers, "b"));
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
    breaks.open();
    weir.wait_for_state(a.address(), "unavail");
    answers.open();
    assert_eq!(client.response().text(), "b");
    weir.wait_for_access("both and what they came to", |line| line.contains("us=\"502, 200\""));
}

#[test]
fn if_the_second_fails_the_first_is_waited_for() {
    let [a, b] = ab();
    let answers = Gate::default();
    a.next(held(&answers, "a"));
    b.next(Script::new().read_body().reset());
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    weir.wait_for_state(b.address(), "unavail");
    answers.open();
    assert_eq!(client.response().text(), "a");
    weir.wait_for_access("both and what they came to", |line| line.contains("us=\"502, 200\""));
}

#[test]
fn a_client_that_leaves_ends_both() {
    let [a, b] = ab();
    for peer in [&a, &b] {
        peer.usually(Script::hanging());
    }
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
    drop(client);
    eventually("both are left", || a.open_connections() + b.open_connections() == 0);
    weir.wait_for_access("the request", |line| line.contains(" 499 "));
}

#[test]
fn what_must_not_be_sent_twice_waits_for_one() {
    let refused = "retry_budget = { percent = 0, min_per_second = 0 }";
    let post = "POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 2\r\n\r\nab";
    let body = "GET / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 2\r\n\r\nab";
    let upgrade = "GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (request, upstream) in [(post, ""), (body, ""), (upgrade, ""), (GET, refused)] {
        let [a, b] = ab();
        let gate = Gate::default();
        a.next(held(&gate, "a"));
        let weir = site([&a, &b], "1ms").upstream(upstream).start();
        let mut client = weir.client();
        client.send(request);
        assert!(client.is_silent_for(Duration::from_millis(150)), "{request}");
        assert_eq!(b.requests().len(), 0, "{request}");
        gate.open();
        assert_eq!(client.response().text(), "a", "{request}");
    }
}

#[test]
fn a_client_that_is_bound_to_a_peer_waits_for_it() {
    let [a, b] = ab();
    a.usually(Script::new().read_body().answer(200, "", "a"));
    let weir =
        site([&a, &b], "1ms").upstream("sticky = { cookie = \"srv_id\", secret = \"0123456789abcdef\" }").start();
    let first = weir.get("/");
    let (bound, other) = if first.text() == "a" { (&a, &b) } else { (&b, &a) };
    let cookie = first.field("set-cookie").and_then(|set| set.split(';').next()).expect("it binds").to_owned();
    let gate = Gate::default();
    for peer in [bound, other] {
        peer.on("/held", held(&gate, peer.address().to_string().as_str()));
    }
    let mut client = weir.client();
    client.send(format!("GET /held HTTP/1.1\r\nHost: weir.test\r\nCookie: {cookie}\r\n\r\n"));
    assert!(client.is_silent_for(Duration::from_millis(150)));
    assert!(!other.requests().iter().any(|request| request.target == "/held"));
    gate.open();
    assert_eq!(client.response().text(), bound.address().to_string());
}

#[test]
fn a_percentile_is_that_of_the_groups_own_answers() {
    let [a, b] = ab();
    let weir = site([&a, &b], "p50").start();
    weir.rotation(60);
    a.usually(Script::new().read_body().pause(Duration::from_millis(500)).answer(200, "", "a"));
    eventually("half of the answers are known to take a millisecond or two", || weir.rotation(4) == "bbbb");
    let both = format!("ua=\"{}, {}\" us=\"-, 200\"", a.address(), b.address());
    weir.wait_for_access("both addresses", |line| line.contains(&both));
}
