//! Where does an address of a `[[stream]]` lead, and what does a reload change of it?

use std::net::SocketAddr;
use std::sync::Arc;

use super::fixture::T0;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::topology::{Change, Topology};

const HEAD: &str = "[upstream.a]\nservers = [\"10.0.0.1:1\"]\n[upstream.b]\nservers = [\"10.0.0.2:1\"]\n";

fn parsed(streams: &str) -> Arc<Config> {
    let env = crate::config::Env::of([]);
    Arc::new(crate::config::parse("upstream.toml", &format!("{HEAD}{streams}"), &env).unwrap().config)
}

fn stream(group: &str) -> String {
    format!("[[stream]]\nlisten = [53, {{ address = \"0.0.0.0:53\", udp = true }}]\nproxy_pass = \"{group}\"\n")
}

#[test]
fn an_address_leads_to_its_group_for_connections_and_datagrams_apart() {
    let other = "[[stream]]\nlisten = 54\nproxy_pass = \"b\"\n";
    let topology = Topology::build(parsed(&(stream("a") + other)), b"secret", T0);
    let address = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let names = |port| {
        let tcp = topology.stream(&Endpoint::Ip(address(port))).map(|route| route.group_name.to_string());
        (tcp, topology.datagrams(address(port)).map(|route| route.group_name.to_string()))
    };
    assert_eq!(names(53), (Some("a".into()), Some("a".into())));
    assert_eq!(names(54), (Some("b".into()), None));
    assert_eq!(names(55), (None, None));
}

#[test]
fn a_reload_that_changes_no_stream_keeps_them_and_one_that_does_says_so() {
    let before = Topology::build(parsed(&stream("a")), b"secret", T0);
    let (same, applied) = before.apply(Change::Config(parsed(&stream("a"))), T0);
    assert!(!applied.streams_changed && Arc::ptr_eq(&before.streams, &same.streams));
    let (_, applied) = before.apply(Change::Config(parsed(&stream("b"))), T0);
    assert!(applied.streams_changed && !applied.is_empty());
    assert_eq!(applied.to_string(), "streams");
}
