//! Is a peer warm when clients meet it, and is it spared while it is not?

use std::time::Duration;

use crate::support::{Backend, Gate, Script, Site, eventually, sorted};

fn warmed(site: Site) -> Site {
    site.upstream("warmup = [\"/one\", \"/two\"]").checked("fails = 1\npasses = 1")
}

fn asked(backend: &Backend) -> Vec<String> {
    backend.requests().into_iter().map(|request| request.target).collect()
}

#[test]
fn a_new_peer_is_asked_before_it_gets_requests() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let gate = Gate::default();
    b.on("/one", Script::new().read_body().gate(&gate).answer(200, "", "one"));
    let weir = warmed(Site::of([&a])).start();
    weir.wait_for_state(a.address(), "up");
    assert!(a.requests().is_empty(), "an only peer is not warmed up");

    weir.edit(&warmed(Site::of([&a, &b])).toml());
    eventually("it is asked", || asked(&b) == ["/one"]);
    assert_eq!(weir.rotation(4), "aaaa");
    gate.open();
    weir.wait_for_state(b.address(), "up");
    assert_eq!(asked(&b), ["/one", "/two"]);
    weir.wait_for("it is said", |line| line.contains("is warmed up: 2 requests in"));
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn a_warm_up_that_fails_is_told_and_keeps_nobody_out() {
    let [a, b] = ["a", "b"].map(Backend::start);
    b.on("/one", Script::new().read_body().reset());
    b.on("/two", Script::status(500));
    let weir = warmed(Site::of([&a])).start();
    weir.wait_for_state(a.address(), "up");
    weir.edit(&warmed(Site::of([&a, &b])).toml());
    weir.wait_for_state(b.address(), "up");
    weir.wait_for("it is said", |line| line.contains("the latest to fail"));
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn a_peer_that_was_ill_is_warmed_up_again() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = warmed(Site::of([&a, &b])).start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    let before = asked(&b).len();
    b.health(Script::status(500));
    weir.wait_for_state(b.address(), "unhealthy");
    let mark = weir.mark();
    b.health(Script::text("ok"));
    weir.wait_for_state_since(mark, b.address(), "up");
    assert_eq!(asked(&b)[before..], ["/one", "/two"]);
}

#[test]
fn a_ramp_is_held_back_while_the_peer_is_slower_than_its_peers() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let entry =
        |peer: &Backend| format!("{{ address = \"{}\", fail_timeout = \"1s\", slow_start = \"20s\" }}", peer.address());
    let weir = Site::servers([&a, &b].map(entry)).start();
    b.stop();
    assert_eq!(weir.rotation(4), "aaaa");
    weir.wait_for_state(b.address(), "unavail");
    b.usually(Script::new().read_body().pause(Duration::from_millis(60)).answer(200, "", "b"));
    b.restart();
    eventually("its ramp is held back", || {
        weir.rotation(20);
        weir.log()
            .iter()
            .any(|line| line.contains(&b.address().to_string()) && line.contains("its ramp is held back: answers took"))
    });
}
