//! How does weir end? After what is in flight, with 0; at once when asked twice.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, Script, Site, Weir, eventually};

/// A request that is with the backend until the gate opens.
fn in_flight(weir: &Weir, a: &Backend) -> (Client, Gate) {
    let gate = Gate::default();
    let before = a.requests().len();
    a.next(Script::new().read_body().gate(&gate).answer(200, "", "finished"));
    let mut client = weir.client();
    client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("it is with the backend", || a.requests().len() == before + 1);
    (client, gate)
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_exits_0() {
    let a = Backend::start("a");
    let mut weir = Site::of([&a]).top("workers = 2").start();
    let (mut client, gate) = in_flight(&weir, &a);
    weir.sigterm();
    eventually("no new connection is accepted", || TcpStream::connect(weir.address()).is_err());
    assert!(weir.is_running());
    gate.open();
    let response = client.response();
    assert_eq!(response.text(), "finished");
    assert_eq!(response.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert_eq!(weir.wait_exit().code(), Some(0));
}

#[test]
fn sigterm_without_traffic_ends_at_once_though_clients_keep_connections() {
    let a = Backend::start("a");
    let mut weir = Site::of([&a]).start();
    let mut idle = weir.client();
    idle.get("/");
    let begun = Instant::now();
    weir.sigterm();
    assert_eq!(weir.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "shutdown_timeout is 30 s: {:?}", begun.elapsed());
    assert!(idle.closed_silently());
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let a = Backend::start("a");
    let mut weir = Site::of([&a]).start();
    let (mut client, _gate) = in_flight(&weir, &a);
    weir.sigterm();
    eventually("the first was noticed", || TcpStream::connect(weir.address()).is_err());
    assert!(weir.is_running());
    let begun = Instant::now();
    weir.sigterm();
    weir.wait_exit();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(client.try_response().is_err());
}

#[test]
fn shutdown_timeout_bounds_the_wait() {
    let a = Backend::start("a");
    let mut weir = Site::of([&a]).top("shutdown_timeout = \"500ms\"").start();
    let (mut client, _gate) = in_flight(&weir, &a);
    let begun = Instant::now();
    weir.sigterm();
    weir.wait_exit();
    assert!((Duration::from_millis(400)..Duration::from_secs(10)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(client.try_response().is_err());
}

#[test]
fn a_weir_that_was_killed_can_start_again_at_once() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    weir.client().get("/");
    let toml = Site::of([&a]).toml().replace("127.0.0.1:0", &weir.address().to_string());
    drop(weir);
    assert_eq!(Weir::start(&toml).get("/").text(), "a");
}
