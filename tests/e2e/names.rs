//! Does weir notice where an application has moved to? Each address of a name is a peer; the last good answer holds.

use std::net::SocketAddr;

use crate::support::dns::Dns;
use crate::support::{Backend, Site, Weir, eventually, sorted};

/// Weir with one server, `app`, at the port of `any`.
fn weir_for(dns: &Dns, any: &Backend) -> Site {
    Site::servers([format!("\"app:{}\"", any.address().port())]).top(&dns.line())
}

fn wait_for_addresses<const N: usize>(weir: &Weir, addresses: [SocketAddr; N]) {
    let list = addresses.map(|address| address.ip().to_string()).join(", ");
    weir.wait_for(&format!("app is {list}"), |line| line.ends_with(&format!("app is {list}")));
}

fn trio() -> [Backend; 3] {
    let a = Backend::start("a");
    let (b, c) = (a.beside("b"), a.beside("c"));
    [a, b, c]
}

#[test]
fn each_address_of_a_name_is_a_peer() {
    let [a, b, c] = trio();
    let dns = Dns::start();
    dns.says([c.address(), a.address(), b.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address(), c.address()]);
    eventually("all are peers", || weir.get("/").status == 200);
    let seen = weir.rotation(6);
    assert_eq!(sorted(&seen), "aabbcc", "in turn: {seen}");
}

#[test]
fn a_name_without_an_address_is_one_line_and_a_503_for_its_group_alone() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    let other = format!(
        "[upstream.other]\nservers = [\"{}\"]\n[[server.location]]\npath = \"/other\"\nproxy_pass = \"http://other\"",
        b.address()
    );
    // The location must stand with its server, before the upstream's table.
    let (upstream, location) = other.split_once("[[server").unwrap();
    let weir = weir_for(&dns, &a).rest(&format!("[[server{location}\n{upstream}")).start();
    let refused = weir.get("/");
    assert_eq!(refused.status, 503);
    assert!(refused.retry_after().is_some_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(weir.get("/other").text(), "b");

    dns.says([a.address()]);
    wait_for_addresses(&weir, [a.address()]);
    eventually("it has traffic", || weir.get("/").status == 200);
    let complaints = weir.log().iter().filter(|line| line.contains("cannot resolve app")).count();
    assert_eq!(complaints, 1);
}

#[test]
fn a_replica_that_is_gone_costs_no_get_and_a_new_one_gets_traffic() {
    let [a, b, c] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    eventually("there is an answer", || weir.get("/").status == 200);

    b.stop();
    dns.says([a.address(), c.address()]);
    let mut seen = String::new();
    eventually("the new one answers", || {
        let response = weir.get("/");
        assert_eq!(response.status, 200);
        seen += &response.text();
        seen.contains('c')
    });
    let rotation = weir.rotation(6);
    assert_eq!(sorted(&rotation), "aaaccc", "in turn: {rotation}");
}

#[test]
fn the_last_good_answer_outlives_a_dns_server_that_fails() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    dns.fails();
    weir.wait_for("it says that it cannot ask", |line| line.contains("cannot resolve app"));
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn a_name_that_is_said_to_be_gone_twice_is_gone() {
    let [a, ..] = trio();
    let dns = Dns::start();
    dns.says([a.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address()]);
    eventually("there is an answer", || weir.get("/").status == 200);
    dns.knows_nothing();
    weir.wait_for("it believes so", |line| line.ends_with("app is nowhere"));
    eventually("nobody is left", || weir.get("/").status == 503);
}

#[test]
fn an_application_that_passes_its_probes_stays_though_its_name_is_gone() {
    let [a, ..] = trio();
    let dns = Dns::start();
    dns.says([a.address()]);
    let weir = weir_for(&dns, &a).checked("").start();
    weir.wait_for("it is up", |line| line.contains("checking → up"));
    dns.knows_nothing();
    weir.wait_for("it was told twice", |line| line.contains("there is no such name any more"));
    assert_eq!(weir.rotation(3), "aaa");
}
