//! Which location answers.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::fixture::*;
use crate::config::model::{Config, Listen, Server, Upstream};
use crate::topology::{ListenerSpec, Topology, VirtualHosts};

/// A configuration of three groups a, b, c with these servers.
fn with(servers: Vec<Server>) -> Config {
    let groups = ["a", "b", "c"].map(|name| Upstream { name: name.into(), ..upstream("a") });
    Config { servers, ..config(groups.into()) }
}

fn listeners(servers: Vec<Server>) -> Vec<ListenerSpec> {
    Topology::build_seeded(Arc::new(with(servers)), 1, T0).listeners().to_vec()
}

fn hosts(servers: Vec<Server>) -> Arc<VirtualHosts> {
    listeners(servers)[0].hosts.clone()
}

/// The group that serves a request, or `404`.
fn served(hosts: &VirtualHosts, host: &str, path: &str) -> String {
    hosts.route(host.as_bytes(), path.as_bytes()).map_or("404".to_owned(), |route| route.group_name.to_string())
}

fn on(server: Server, listen: &[(&str, bool)]) -> Server {
    let listen = listen.iter().map(|(address, default_server)| Listen {
        default_server: *default_server,
        ..Listen::on(address.parse::<SocketAddr>().expect("an address"))
    });
    Server { listen: listen.collect(), ..server }
}

#[test]
fn exact_beats_the_longest_prefix_of_letters() {
    let locations = [("/", 0), ("/x", 1), ("/x/", 2), ("= /x", 0), ("/images/", 1), ("= /images/logo.png", 2)];
    let hosts = hosts(vec![virtual_server(&[], &locations)]);
    let table = [
        ("/", "a"),
        ("/y", "a"),
        ("/x", "a"),
        ("/xy", "b"),
        ("/x/", "c"),
        ("/x/y", "c"),
        ("/images", "a"),
        ("/images/", "b"),
        ("/images/logo.png", "c"),
        ("/images/logo.png2", "b"),
        ("/images/a/b", "b"),
    ];
    for (path, group) in table {
        assert_eq!(served(&hosts, "any", path), group, "{path}");
    }
}

#[test]
fn without_a_fitting_location_there_is_none() {
    let hosts = hosts(vec![virtual_server(&[], &[("/x/", 0), ("= /y", 1)])]);
    for path in ["/", "/x", "/y/", "/yy", "", "*", "\u{ff}"] {
        assert_eq!(served(&hosts, "any", path), "404", "{path}");
    }
}

#[test]
fn the_server_is_found_by_its_name() {
    let hosts = hosts(vec![
        virtual_server(&["first.test"], &[("/", 0)]),
        virtual_server(&["example.org", "*.example.org"], &[("/", 1)]),
        virtual_server(&["www.*"], &[("/", 2)]),
    ]);
    let table = [
        ("first.test", "a"),
        ("nobody.test", "a"),
        ("", "a"),
        ("example.org", "b"),
        ("WWW.Example.ORG", "b"),
        ("www.test", "c"),
    ];
    for (host, group) in table {
        assert_eq!(served(&hosts, host, "/"), group, "{host}");
    }
}

#[test]
fn the_default_server_is_the_marked_one_of_that_address_else_the_first() {
    let servers = vec![
        on(virtual_server(&["one.test"], &[("/", 0)]), &[("0.0.0.0:80", false), ("0.0.0.0:81", false)]),
        on(virtual_server(&["two.test"], &[("/", 1)]), &[("0.0.0.0:80", true), ("0.0.0.0:82", false)]),
        on(virtual_server(&["three.test"], &[("/", 2)]), &[("0.0.0.0:81", false)]),
    ];
    let listeners = listeners(servers);
    // port, host; group
    let table = [
        (80, "one.test", "a"),
        (80, "two.test", "b"),
        (80, "three.test", "b"),
        (81, "nobody", "a"),
        (81, "three.test", "c"),
        (81, "two.test", "a"),
        (82, "one.test", "b"),
    ];
    assert_eq!(listeners.iter().map(|listener| listener.address.port()).collect::<Vec<_>>(), [80, 81, 82].map(Some));
    for (port, host, group) in table {
        let address = SocketAddr::from(([0, 0, 0, 0], port)).into();
        let listener = listeners.iter().find(|listener| listener.address == address).expect("it is listened on");
        assert_eq!(served(&listener.hosts, host, "/"), group, "{port} {host}");
    }
}

#[test]
fn a_route_carries_what_its_request_needs() {
    let mut server = virtual_server(&["*.example.org", "x.test"], &[("/x/", 1)]);
    server.client.max_body_size = 7;
    server.locations[0].replace = Some("/y/".to_owned());
    let topology = Topology::build_seeded(Arc::new(with(vec![server])), 1, T0);
    let hosts = &topology.listeners()[0].hosts;
    let route = hosts.route(b"a.example.org", b"/x/1").expect("the one location");
    assert_eq!(topology.group(route.group).map(|group| group.name().to_owned()).as_deref(), Some("b"));
    assert_eq!((&*route.server_name, route.client.max_body_size), ("*.example.org", 7));
    assert_eq!(route.location.replace.as_deref(), Some("/y/"));
    assert_eq!(hosts.default_server().client.max_body_size, 7);
}

#[test]
fn of_ten_thousand_routes_each_is_found() {
    let paths: Vec<String> = (0..10_000).map(|n| format!("/{}/{n}/", n % 100)).collect();
    let locations: Vec<(&str, usize)> = paths.iter().map(|path| (path.as_str(), path.len() % 3)).collect();
    let hosts = hosts(vec![virtual_server(&[], &locations)]);
    for path in &paths {
        let inside = format!("{path}page");
        let route = hosts.route(b"any", inside.as_bytes()).expect("one of them");
        assert_eq!(route.location.path, crate::config::model::PathMatch::Prefix(path.clone()));
    }
    assert_eq!(hosts.default_server().routes().count(), 10_000);
}

proptest! {
    #[test]
    fn the_search_finds_what_looking_at_all_would(
        prefixes in prop::collection::vec("/[ab/]{0,6}", 1..40),
        exact in prop::collection::vec("/[ab/]{0,6}", 0..10),
        path in "/[abc/]{0,9}",
    ) {
        let marked: Vec<String> = exact.iter().map(|path| format!("= {path}")).collect();
        let all: Vec<(&str, usize)> = prefixes.iter().chain(&marked).map(|path| (path.as_str(), 0)).collect();
        let hosts = hosts(vec![virtual_server(&[], &all)]);
        let naive = || prefixes.iter().filter(|prefix| path.starts_with(*prefix)).max_by_key(|prefix| prefix.len());
        let expected = exact.iter().find(|exact| **exact == path).or_else(naive);
        let found = hosts.route(b"any", path.as_bytes()).map(|route| match &route.location.path {
            crate::config::model::PathMatch::Exact(path) | crate::config::model::PathMatch::Prefix(path) => path,
        });
        prop_assert_eq!(found, expected);
    }
}
