//! What a change keeps, and what it replaces.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::fixture::*;
use crate::balancer::{FULL, Method};
use crate::clock::Timestamp;
use crate::config::model::{Config, Upstream};
use crate::health::{Admission, Outcome, Seen, State, Tier};
use crate::topology::{Applied, Ask, Change, Group, Live, Peer, PeerTransition, Topology, Tried};

fn to(servers: &str) -> Change {
    Change::Config(Arc::new(config(vec![upstream(servers)])))
}

fn resolved(host: &str, last: &[u8]) -> Change {
    Change::Resolved { host: host.into(), addrs: last.iter().map(|n| IpAddr::from([10, 1, 0, *n])).collect() }
}

/// A world, its changes, and what they led to.
struct World {
    live: Live,
}

impl World {
    fn new(config: Config) -> World {
        World { live: Live::new(Topology::build_seeded(Arc::new(config), 1, T0)) }
    }

    fn of(servers: &str) -> World {
        World::new(config(vec![upstream(servers)]))
    }

    fn apply(&self, change: Change, now: Timestamp) -> (Applied, Vec<PeerTransition>) {
        let (next, applied) = self.live.load().apply(change, now);
        let transitions = self.live.publish(next, &applied, now);
        (applied, transitions)
    }

    fn group(&self) -> Arc<Group> {
        self.live.load().groups()[0].clone()
    }

    /// The addresses of the group's peers: `1` for 10.1.0.1, in order.
    fn last_bytes(&self) -> Vec<u8> {
        let byte = |peer: &Arc<Peer>| match peer.addr.ip() {
            Some(IpAddr::V4(ip)) => ip.octets()[3],
            _ => 0,
        };
        self.group().seats().map(|seat| byte(&seat.peer)).collect()
    }
}

fn names(peers: &[Arc<Peer>]) -> Vec<&str> {
    peers.iter().map(|peer| &*peer.text).collect()
}

#[test]
fn a_peer_that_stays_keeps_its_health_its_requests_and_its_id() {
    let world = World::of("a, b, c");
    let before = world.group();
    fail(&before, "a", hard(), T0);
    let held = before.try_lease(&get(&Tried::new()), T0).expect("b or c");
    let (applied, _) = world.apply(to("d, c weight=2, b, a"), at(1));
    let after = world.group();
    for letter in ["a", "b", "c"] {
        assert!(Arc::ptr_eq(&peer(&before, letter), &peer(&after, letter)), "{letter}");
    }
    assert_eq!(peer(&after, "a").cell.verdict(at(1)).state, State::Unavail);
    assert_eq!(peer(&after, &held.peer().text).in_flight(), 1);
    assert_eq!(before.id(), after.id());
    assert_eq!((names(&applied.peers_added), names(&applied.peers_changed)), (vec!["d"], vec!["c"]));
    assert_eq!(applied.to_string(), "+g/10.0.0.4:80, ~g/10.0.0.3:80");
    assert!(applied.peers_removed.is_empty());
}

#[test]
fn a_peer_that_vanished_finishes_what_it_has_and_gets_nothing_more() {
    let world = World::of("a, b");
    let before = world.group();
    let held = before.try_lease(&get(&Tried::new()), T0).expect("a is first");
    let (applied, transitions) = world.apply(to("b"), T0);
    assert_eq!(names(&applied.peers_removed), ["a"]);
    assert_eq!(transitions.iter().map(|gone| gone.transition.to).collect::<Vec<_>>(), [State::Draining]);
    assert_eq!(several(&before, 2, T0), "b b", "in the old snapshot, too");
    assert_eq!(held.peer().in_flight(), 1);
    let gone = held.peer().clone();
    drop(held);
    assert_eq!(gone.in_flight(), 0);
}

#[test]
fn nothing_happens_to_peers_before_the_snapshot_is_published() {
    let world = World::of("a, b");
    let (next, applied) = world.live.load().apply(to("b"), T0);
    assert_eq!(several(&world.group(), 2, T0), "a b");
    drop((next, applied));
    assert_eq!(several(&world.group(), 2, T0), "a b");
}

#[test]
fn the_same_file_changes_nothing() {
    let world = World::of("a, b, app:80");
    world.apply(resolved("app", &[1, 2]), T0);
    let before = world.live.load();
    let (applied, transitions) = world.apply(to("a, b, app:80"), T0);
    let after = world.live.load();
    assert!(applied.is_empty() && transitions.is_empty());
    assert_eq!(applied.to_string(), "nothing changed");
    assert!(Arc::ptr_eq(&before.groups()[0], &after.groups()[0]));
    assert!(std::ptr::eq(before.listeners(), after.listeners()));
}

#[test]
fn the_rotation_goes_on_over_a_reload() {
    let world = World::of("a, b, c");
    assert_eq!(several(&world.group(), 1, T0), "a");
    world.apply(to("a, b, c, d"), T0);
    assert_eq!(several(&world.group(), 4, T0), "b c d a");
    world.apply(to("b, c, d"), T0);
    assert_eq!(several(&world.group(), 3, T0), "b c d");
    let kept_longer = Upstream { keepalive: 99, ..upstream("b, c, d") };
    assert_eq!(several(&world.group(), 1, T0), "b");
    world.apply(Change::Config(Arc::new(config(vec![kept_longer]))), T0);
    assert_eq!(several(&world.group(), 3, T0), "c d b", "the same balancer");
}

#[test]
fn the_same_address_written_twice_is_two_peers_by_ordinal() {
    let world = World::of("a, a, b");
    let ids = |world: &World| world.group().seats().map(|seat| seat.peer.id).collect::<Vec<_>>();
    let before = ids(&world);
    assert_ne!(before[0], before[1]);
    world.apply(to("a, b, a, a"), T0);
    let after = ids(&world);
    assert_eq!([after[0], after[2], after[1]], [before[0], before[1], before[2]]);
    assert!(!before.contains(&after[3]));
}

#[test]
fn the_same_address_written_otherwise_or_in_another_group_is_another_peer() {
    let world = World::of("a");
    let before = world.group().seats().next().map(|seat| seat.peer.id);
    let mut other_text = upstream("a");
    other_text.servers[0].text = "10.0.0.1".into();
    world.apply(Change::Config(Arc::new(config(vec![other_text]))), T0);
    let written_otherwise = world.group().seats().next().map(|seat| seat.peer.id);
    let other_name = Upstream { name: "h".into(), ..upstream("a") };
    world.apply(Change::Config(Arc::new(config(vec![other_name]))), T0);
    let in_another_group = world.group().seats().next().map(|seat| seat.peer.id);
    assert!(before != written_otherwise && written_otherwise != in_another_group && before != in_another_group);
}

#[test]
fn a_name_has_no_peers_until_it_is_resolved_then_one_per_address_in_order() {
    let world = World::of("app:80 weight=2, app:81 backup");
    assert_eq!(world.live.load().names().into_iter().collect::<Vec<_>>(), ["app"]);
    assert_eq!(one(&world.group(), T0), "NoPeers");
    world.apply(resolved("APP", &[3, 1, 2, 1]), T0);
    assert_eq!(world.last_bytes(), [1, 2, 3, 1, 2, 3]);
    let group = world.group();
    assert!(group.tiers()[0].seats.iter().all(|seat| seat.server.weight == 2 && seat.peer.addr.port() == Some(80)));
    assert!(group.tiers()[1].seats.iter().all(|seat| seat.server.backup && seat.peer.addr.port() == Some(81)));
    assert_eq!(group.seats().next().map(|seat| &*seat.peer.name), Some("10.1.0.1:80"));
}

#[test]
fn an_answer_changes_only_the_groups_of_that_name() {
    let other = Upstream { name: "other".into(), ..upstream("a, web:80") };
    let world = World::new(config(vec![upstream("app:80"), other]));
    world.apply(resolved("web", &[9]), T0);
    let before = world.live.load();
    let (applied, _) = world.apply(resolved("app", &[1, 2]), T0);
    let after = world.live.load();
    assert_eq!(applied.to_string(), "+g/10.1.0.1:80, +g/10.1.0.2:80");
    assert!(Arc::ptr_eq(&before.groups()[1], &after.groups()[1]));
    assert!(std::ptr::eq(before.listeners(), after.listeners()), "no route is built anew");
}

#[test]
fn addresses_come_and_go_and_the_rest_stays() {
    let world = World::of("app:80");
    world.apply(resolved("app", &[1, 2]), T0);
    let before = world.group();
    let (applied, _) = world.apply(resolved("app", &[2, 3]), T0);
    assert_eq!(applied.to_string(), "+g/10.1.0.3:80, -g/10.1.0.1:80");
    assert_eq!(world.last_bytes(), [2, 3]);
    let peer = |group: &Group, at: usize| group.seats().nth(at).map(|seat| seat.peer.id);
    assert_eq!(peer(&before, 1), peer(&world.group(), 0));
    world.apply(resolved("app", &[]), T0);
    assert!(world.group().is_empty());
    assert_eq!(one(&world.group(), T0), "NoPeers");
}

#[test]
fn answers_outlive_a_reload() {
    let world = World::of("app:80");
    world.apply(resolved("app", &[1, 2]), T0);
    let (applied, _) = world.apply(to("app:80, a"), T0);
    assert_eq!(applied.to_string(), "+g/10.0.0.1:80");
    assert_eq!(world.last_bytes(), [1, 2, 1]);
}

#[test]
fn the_files_word_on_a_peer_counts_when_it_changes() {
    let world = World::of("a, b");
    let (_, transitions) = world.apply(to("a down, b"), T0);
    assert_eq!(transitions.len(), 1);
    assert_eq!(several(&world.group(), 2, T0), "b b");
    world.apply(to("a, b"), T0);
    assert_eq!(several(&world.group(), 2, T0), "a b");
}

#[test]
fn new_thresholds_hold_for_peers_that_stay() {
    let world = World::of("a max_fails=5, b");
    fail(&world.group(), "a", hard(), T0);
    assert_eq!(peer(&world.group(), "a").cell.verdict(T0).state, State::Up);
    world.apply(to("a max_fails=1, b"), T0);
    fail(&world.group(), "a", hard(), T0);
    assert_eq!(peer(&world.group(), "a").cell.verdict(T0).state, State::Unavail);
}

#[test]
fn a_check_that_is_added_leaves_present_peers_up_and_new_ones_wait_for_it() {
    let world = World::of("a");
    let checked = Upstream { health_check: Some(check()), ..upstream("a, b") };
    world.apply(Change::Config(Arc::new(config(vec![checked]))), T0);
    let group = world.group();
    let admissions = ["a", "b"].map(|letter| peer(&group, letter).cell.admission(T0));
    assert_eq!(admissions, [Admission::Ordinary, Admission::Unprobed]);
    peer(&group, "b").observe_probe(T0, Seen::Pass, false, T0);
    assert_eq!(several(&group, 2, T0), "a b");
}

#[test]
fn a_primary_may_become_a_backup() {
    let world = World::of("a, b");
    let before = peer(&world.group(), "a");
    world.apply(to("a backup, b"), T0);
    assert!(Arc::ptr_eq(&before, &peer(&world.group(), "a")));
    assert_eq!(several(&world.group(), 2, T0), "b b");
    let pool = &world.group().state.pool;
    assert_eq!([Tier::Primary, Tier::Backup].map(|tier| pool.counts(tier).members), [1, 1]);
}

#[test]
fn leases_older_than_the_snapshot_tell_its_balancer() {
    let world = World::of("a, b, c");
    fail(&world.group(), "a", hard(), T0);
    let trial = world.group().try_lease(&get(&Tried::new()), at(10)).expect("a is due");
    world.apply(to("a, b, c, d"), at(10));
    assert_eq!(several(&world.group(), 3, at(10)), "b c d");
    trial.finish(Outcome::Success, at(11));
    assert_eq!(several(&world.group(), 4, at(11)), "a b c d");
}

#[test]
fn who_joins_others_ramps_up_and_who_was_there_from_the_start_does_not() {
    // what happens, and when; whether the last peer ramps up
    let ramps = |world: &World, now| {
        let group = world.group();
        let last = group.seats().last().expect("there is one").peer.clone();
        last.cell.ramp(now) < FULL
    };
    let start = World::of("a slow_start=60, b slow_start=60");
    assert!(!ramps(&start, T0), "at process start");
    start.apply(to("a slow_start=60, b slow_start=60, c slow_start=60"), at(5));
    assert!(ramps(&start, at(5)), "joins by a reload");

    let first_answer = World::of("a slow_start=60, app:80 slow_start=60");
    first_answer.apply(resolved("app", &[1]), at(1));
    assert!(!ramps(&first_answer, at(1)), "its name is resolved for the first time while weir starts");
    first_answer.apply(resolved("app", &[1, 2]), at(2));
    assert!(ramps(&first_answer, at(2)), "a replica more");

    let late_answer = World::of("a slow_start=60, app:80 slow_start=60");
    late_answer.apply(resolved("app", &[1]), at(3600));
    assert!(ramps(&late_answer, at(3600)), "the others have served for an hour");

    let alone = World::of("app:80 slow_start=60");
    alone.apply(resolved("app", &[1, 2]), at(3600));
    assert!(!ramps(&alone, at(3600)), "nobody else serves");
}

#[test]
fn groups_and_listeners_come_and_go() {
    let world = World::of("a");
    let two = vec![Upstream { name: "h".into(), ..upstream("b") }, Upstream { keepalive: 1, ..upstream("a") }];
    let mut next = config(two);
    next.servers[0].listen[0].address = std::net::SocketAddr::from(([0, 0, 0, 0], 81)).into();
    let (applied, _) = world.apply(Change::Config(Arc::new(next)), T0);
    let expected = "+upstream h, ~upstream g, +h/10.0.0.2:80, +listen 0.0.0.0:81, -listen 0.0.0.0:80, routes";
    assert_eq!(applied.to_string(), expected);
    let topology = world.live.load();
    assert_eq!(topology.group_named("h").map(|group| group.id()), Some(topology.groups()[0].id()));
    assert!(topology.groups().iter().all(|group| topology.group(group.id()).is_some_and(|g| Arc::ptr_eq(g, group))));
    let (applied, _) = world.apply(to("a"), T0);
    assert_eq!(applied.groups_removed.iter().map(|name| &**name).collect::<Vec<_>>(), ["h"]);
    assert_eq!(names(&applied.peers_removed), ["b"]);
}

#[test]
fn an_old_snapshot_is_freed_when_its_last_reader_is_done() {
    let world = World::of("a, b");
    let mut reader = world.live.reader();
    let old = Arc::downgrade(reader.topology());
    let old_group = Arc::downgrade(&world.group());
    assert!(reader.group(world.group().id()).is_some());
    let held = world.group().try_lease(&get(&Tried::new()), T0).expect("a is first");
    world.apply(to("b"), T0);
    assert!(old.upgrade().is_some(), "the reader's cache");
    assert!(reader.topology().peers().all(|(_, peer)| &*peer.text == "b"));
    reader.let_go();
    assert!(old.upgrade().is_none() && old_group.upgrade().is_none(), "a lease does not hold it");
    drop(held);
}

#[test]
fn a_ring_of_a_name_is_made_of_its_addresses() {
    let hashed = |servers| Upstream { method: Method::Hash { consistent: true }, ..upstream(servers) };
    let world = World::new(config(vec![hashed("app:80")]));
    world.apply(resolved("app", &[1, 2, 3]), T0);
    let owners = |world: &World| -> Vec<String> {
        let (group, tried) = (world.group(), Tried::new());
        let owner = |n: u32| {
            let key = format!("/{n}");
            let ask = Ask { key: key.as_bytes(), ..get(&tried) };
            group.try_lease(&ask, T0).map(|lease| lease.peer().name.to_string()).unwrap_or_default()
        };
        (0..200).map(owner).collect()
    };
    let three = owners(&world);
    world.apply(resolved("app", &[1, 3]), T0);
    let two = owners(&world);
    let moved = three.iter().zip(&two).filter(|(before, after)| before != after).count();
    let of_the_lost = three.iter().filter(|owner| *owner == "10.1.0.2:80").count();
    assert_eq!(moved, of_the_lost, "only the keys of the one that left");
    assert!(of_the_lost > 0);
}

#[test]
fn ten_thousand_addresses_are_applied_in_time_linear_in_their_number() {
    let world = World::of("app:80");
    let addrs = (0..10_000u32).map(|n| IpAddr::from((0x0a02_0000 + n).to_be_bytes())).collect();
    world.apply(Change::Resolved { host: "app".into(), addrs }, T0);
    assert_eq!(world.group().len(), 10_000);
    assert_eq!(several(&world.group(), 3, T0), "app:80 app:80 app:80");
    let budget = Duration::from_secs(60);
    assert!(world.live.load().wake_at().is_none_or(|at| at > T0 + budget));
}
