//! What services and sources make of a group, and what any sequence of changes keeps.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use crate::clock::Timestamp;
use crate::config::model::{Address, Config, Consul, Upstream, UpstreamServer};
use crate::endpoint::Endpoint;
use crate::health::{Command, Operator, Outcome, State};
use crate::id::PeerId;
use crate::topology::{Change, Group, Lease, Live, Peer, Source, Target, Topology, Tried};

/// A service `s` of this name, with nginx's words behind it.
fn service(words: &str) -> UpstreamServer {
    UpstreamServer { address: Address::Service { name: "_http._tcp.s".into() }, ..server(&format!("s {words}")) }
}

fn target(last: u8, priority: u16, weight: u16) -> Target {
    Target { priority, weight, addr: SocketAddr::from(([10, 2, 0, last], 8000 + u16::from(last))) }
}

fn located(targets: &[Target]) -> Change {
    Change::Located { service: "_http._tcp.s".into(), targets: targets.to_vec() }
}

fn discovered(source: Source, servers: &str) -> Change {
    Change::Discovered { group: "g".into(), source, peers: upstream(servers).servers }
}

struct World(Live);

impl World {
    fn of(upstream: Upstream) -> World {
        World(Live::new(Topology::build_seeded(Arc::new(config(vec![upstream])), 1, T0)))
    }

    fn apply(&self, change: Change, now: Timestamp) -> String {
        let (next, applied) = self.0.load().apply(change, now);
        self.0.publish(next, &applied, now);
        applied.to_string()
    }

    fn group(&self) -> Arc<Group> {
        self.0.load().groups()[0].clone()
    }

    /// The peers of each tier: address and weight.
    fn shown(&self) -> String {
        let group = self.group();
        let tiers = group.tiers().iter().map(|tier| {
            let seats = tier.seats.iter().map(|seat| format!("{}*{}", seat.peer.name, seat.server.weight));
            seats.collect::<Vec<_>>().join(" ")
        });
        tiers.collect::<Vec<_>>().join(" | ")
    }
}

#[test]
fn records_of_the_lowest_priority_are_primaries_and_all_others_backups() {
    for (words, shown) in [
        ("", "10.2.0.1:8001*1 10.2.0.2:8002*7 | 10.2.0.3:8003*5 10.2.0.4:8004*5"),
        ("weight=9", "10.2.0.1:8001*9 10.2.0.2:8002*9 | 10.2.0.3:8003*9 10.2.0.4:8004*9"),
        ("backup", " | 10.2.0.1:8001*1 10.2.0.2:8002*7"),
    ] {
        let world = World::of(Upstream { servers: vec![service(words)], ..upstream("") });
        assert_eq!(world.shown(), " | ");
        world.apply(located(&[target(3, 20, 5), target(2, 10, 7), target(4, 30, 5), target(1, 10, 0)]), at(1));
        assert_eq!(world.shown(), shown, "{words}");
    }
}

#[test]
fn a_record_that_changes_its_weight_or_its_priority_keeps_its_peer() {
    let world = World::of(Upstream { servers: vec![service("")], ..upstream("") });
    world.apply(located(&[target(1, 10, 1), target(2, 10, 1), target(2, 5, 1)]), at(1));
    assert_eq!(world.shown(), "10.2.0.2:8002*1 | 10.2.0.1:8001*1", "one address, one peer, at its most important");
    let before: Vec<PeerId> = world.group().seats().map(|seat| seat.peer.id).collect();
    world.apply(located(&[target(1, 1, 4), target(2, 10, 1)]), at(2));
    assert_eq!(world.shown(), "10.2.0.1:8001*4 | 10.2.0.2:8002*1");
    let after: Vec<PeerId> = world.group().seats().map(|seat| seat.peer.id).collect();
    assert_eq!(after, [before[1], before[0]]);
}

fn with_sources(servers: &str) -> Upstream {
    let agent = Address::Ip(SocketAddr::from(([127, 0, 0, 1], 8500)));
    let consul = Consul { service: "s".into(), address: agent, tag: None, datacenter: None, token: None };
    Upstream { servers_file: Some("peers.json".into()), docker: true, consul: Some(consul), ..upstream(servers) }
}

#[test]
fn what_sources_find_stands_behind_the_servers_of_the_file() {
    let world = World::of(with_sources("a"));
    assert_eq!(world.apply(discovered(Source::Docker, "c weight=2, app:5000"), at(1)), "+g/10.0.0.3:80");
    world.apply(discovered(Source::File, "b, d backup"), at(2));
    world.apply(Change::Resolved { host: "app".into(), addrs: vec![IpAddr::from([10, 1, 0, 7])] }, at(3));
    assert_eq!(world.shown(), "10.0.0.1:80*1 10.0.0.2:80*1 10.0.0.3:80*2 10.1.0.7:5000*1 | 10.0.0.4:80*1");

    // Each source speaks for itself.
    assert_eq!(world.apply(discovered(Source::File, ""), at(4)), "-g/10.0.0.2:80, -g/10.0.0.4:80");
    // A reload of something else keeps what was found; without the source it goes.
    let config_of = |upstream| Change::Config(Arc::new(config(vec![upstream])));
    world.apply(config_of(Upstream { keepalive: 9, ..with_sources("a") }), at(5));
    assert_eq!(world.shown(), "10.0.0.1:80*1 10.0.0.3:80*2 10.1.0.7:5000*1 | ");
    world.apply(config_of(upstream("a")), at(6));
    assert_eq!(world.shown(), "10.0.0.1:80*1 | ");
    world.apply(discovered(Source::Docker, "c"), at(7));
    assert_eq!(world.shown(), "10.0.0.1:80*1 | ", "a late word of a source that is not asked any more");
}

#[test]
fn a_replica_is_called_by_its_own_name_once_that_is_known() {
    let world = World::of(upstream("app:5000, a"));
    world.apply(Change::Resolved { host: "app".into(), addrs: vec![IpAddr::from([10, 1, 0, 7])] }, at(1));
    let group = world.group();
    let peers: Vec<&Arc<Peer>> = group.seats().map(|seat| &seat.peer).collect();
    assert_eq!((&*peers[0].called(), peers[0].described()), ("app:5000", "app:5000 (10.1.0.7:5000)".to_owned()));
    assert_eq!(peers[1].described(), "a");
    peers[0].set_replica("app_2".into());
    assert_eq!((&*peers[0].called(), peers[0].described()), ("app_2", "app_2 (10.1.0.7:5000)".to_owned()));
}

/// One thing that may happen to a group.
#[derive(Clone, Debug)]
enum Event {
    Config(Vec<(u8, u32, bool)>),
    Resolved(Vec<u8>),
    Located(Vec<(u8, u16, u16)>),
    Discovered(Source, Vec<u8>),
    Override(usize, Operator),
    Begin,
    Finish(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let source = prop_oneof![Just(Source::File), Just(Source::Docker), Just(Source::Consul)];
    let operator = prop_oneof![Just(Operator::Enabled), Just(Operator::Drain), Just(Operator::Down)];
    prop_oneof![
        prop::collection::vec((0..5_u8, 1..3_u32, any::<bool>()), 0..5).prop_map(Event::Config),
        prop::collection::vec(0..5_u8, 0..5).prop_map(Event::Resolved),
        prop::collection::vec((0..5_u8, 0..3_u16, 0..3_u16), 0..5).prop_map(Event::Located),
        (source, prop::collection::vec(0..5_u8, 0..4)).prop_map(|(source, peers)| Event::Discovered(source, peers)),
        (0..9_usize, operator).prop_map(|(peer, operator)| Event::Override(peer, operator)),
        Just(Event::Begin),
        Just(Event::Begin),
        (0..9_usize, any::<bool>()).prop_map(|(lease, fails)| Event::Finish(lease, fails)),
    ]
}

fn letters(of: &[u8]) -> String {
    of.iter().map(|n| char::from(b'a' + n).to_string()).collect::<Vec<_>>().join(", ")
}

type Identity = (Arc<str>, Endpoint, u32);

fn identity(peer: &Peer) -> Identity {
    (peer.text.clone(), peer.addr.clone(), peer.ordinal)
}

proptest! {
    #[test]
    fn any_sequence_of_changes_keeps_leases_identities_and_states(events in prop::collection::vec(event(), 1..40)) {
        let whole = |servers: &str| {
            let mut upstream = with_sources(servers);
            upstream.servers.push(server("app:5000"));
            upstream.servers.push(service(""));
            upstream
        };
        let world = World::of(whole("a"));
        let mut leases: Vec<Lease> = Vec::new();
        for (second, event) in (1..).zip(events) {
            let (now, group) = (at(second), world.group());
            let before: HashMap<Identity, (PeerId, State)> = group
                .seats()
                .map(|seat| (identity(&seat.peer), (seat.peer.id, seat.peer.cell.verdict(now).state)))
                .collect();
            let change = match event {
                Event::Config(servers) => {
                    let word = |(n, weight, down): &(u8, u32, bool)| {
                        format!("{} weight={weight}{}", char::from(b'a' + n), if *down { " down" } else { "" })
                    };
                    let servers: Vec<String> = servers.iter().map(word).collect();
                    let next: Config = config(vec![whole(&servers.join(", "))]);
                    Some((Change::Config(Arc::new(next)), true))
                }
                Event::Resolved(last) => {
                    let addrs = last.iter().map(|n| IpAddr::from([10, 1, 0, *n])).collect();
                    Some((Change::Resolved { host: "app".into(), addrs }, false))
                }
                Event::Located(targets) => {
                    let targets: Vec<Target> = targets.iter().map(|(n, priority, weight)| target(*n, *priority, *weight)).collect();
                    Some((located(&targets), false))
                }
                Event::Discovered(source, peers) => Some((discovered(source, &letters(&peers)), false)),
                Event::Override(n, to) => {
                    if let Some(seat) = group.seats().nth(n) {
                        seat.peer.set_operator(Command::Override { to, until: None }, now);
                    }
                    None
                }
                Event::Begin => {
                    leases.extend(group.try_lease(&get(&Tried::new()), now).ok());
                    None
                }
                Event::Finish(n, fails) => {
                    if n < leases.len() {
                        let outcome = if fails { Outcome::Soft("cut".into()) } else { Outcome::Success };
                        leases.remove(n).finish(outcome, now);
                    }
                    None
                }
            };
            if let Some((change, by_file)) = change {
                world.apply(change, now);
                let after = world.group();
                let mut seen = HashSet::new();
                for seat in after.seats() {
                    let who = identity(&seat.peer);
                    prop_assert!(seen.insert(who.clone()), "{who:?} is there twice");
                    if let Some((id, state)) = before.get(&who) {
                        prop_assert_eq!(seat.peer.id, *id, "{:?} is another", who);
                        // The file may say something else of it; nothing else may.
                        prop_assert!(by_file || seat.peer.cell.verdict(now).state == *state, "{:?} changed its state", who);
                    }
                }
                prop_assert_eq!(after.id(), group.id());
            }
            // Every lease is counted at its own peer, whether or not the snapshot still has it.
            let mut held: HashMap<PeerId, u32> = HashMap::new();
            leases.iter().for_each(|lease| *held.entry(lease.peer().id).or_default() += 1);
            for peer in leases.iter().map(Lease::peer).chain(world.group().seats().map(|seat| &seat.peer)) {
                prop_assert_eq!(peer.in_flight(), held.get(&peer.id).copied().unwrap_or_default());
            }
        }
        let peers: Vec<Arc<Peer>> = leases.iter().map(|lease| lease.peer().clone()).collect();
        drop(leases);
        prop_assert!(peers.iter().all(|peer| peer.in_flight() == 0));
    }
}

#[test]
fn a_peer_that_a_source_gives_up_finishes_what_it_has() {
    let world = World::of(with_sources(""));
    world.apply(discovered(Source::Docker, "a, b"), at(1));
    let lease = world.group().try_lease(&get(&Tried::new()), at(2)).expect("a is there");
    let who = lease.peer().text.to_string();
    let others = if who == "a" { "b" } else { "a" };
    world.apply(discovered(Source::Docker, others), at(3));
    assert_eq!(lease.peer().cell.verdict(at(3)).state, State::Draining);
    assert_eq!(lease.peer().in_flight(), 1);
    let peer = lease.peer().clone();
    lease.finish(Outcome::Success, at(3) + Duration::from_secs(1));
    assert_eq!(peer.in_flight(), 0);
}
