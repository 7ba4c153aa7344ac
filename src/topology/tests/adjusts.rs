//! What operators change, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::*;
use crate::clock::Timestamp;
use crate::config::model::Upstream;
use crate::health::Operator;
use crate::topology::{
    Added, Adjustment, Applied, Change, Ended, Group, Kind, Live, Override, PeerTransition, Setting, Source, Subject,
    Topology,
};

/// A world of one group, its changes, and what is logged of them.
struct World {
    live: Live,
}

impl World {
    fn of(servers: &str) -> World {
        World { live: Live::new(Topology::build_seeded(Arc::new(config(vec![upstream(servers)])), 1, T0)) }
    }

    fn apply(&self, change: Change, now: Timestamp) -> (Applied, Vec<PeerTransition>) {
        let (next, applied) = self.live.load().apply(change, now);
        let transitions = self.live.publish(next, &applied, now);
        (applied, transitions)
    }

    fn file(&self, servers: &str, now: Timestamp) -> Applied {
        self.apply(Change::Config(Arc::new(config(vec![upstream(servers)]))), now).0
    }

    fn adjust(&self, steps: Vec<Adjustment>, now: Timestamp) -> Vec<PeerTransition> {
        self.apply(Change::Adjust(steps), now).1
    }

    /// As the publisher does every second.
    fn tick(&self, now: Timestamp) -> Vec<Ended> {
        self.live.load().tick(now);
        self.apply(Change::Adjust(Vec::new()), now).0.ended
    }

    fn group(&self) -> Arc<Group> {
        self.live.load().groups()[0].clone()
    }

    /// Each peer with its state and weight: `a up 1`.
    fn shown(&self, now: Timestamp) -> Vec<String> {
        let group = self.group();
        let shown = group
            .seats()
            .map(|seat| format!("{} {} {}", seat.peer.text, seat.peer.cell.verdict(now).state, seat.server.weight));
        shown.collect()
    }
}

fn target(server: &str) -> Subject {
    Subject { group: "g".into(), server: server.into(), addr: None }
}

fn over(server: &str, setting: Setting, file: Setting, until: Option<Timestamp>) -> Override {
    Override { target: target(server), setting, file, until, since: T0, by: "ann@host".into(), reason: None }
}

fn drain(server: &str, until: Option<Timestamp>) -> Adjustment {
    Adjustment::Set(over(server, Setting::Use(Operator::Drain), Setting::Use(Operator::Enabled), until))
}

fn weight(server: &str, weight: u32) -> Adjustment {
    Adjustment::Set(over(server, Setting::Weight(weight), Setting::Weight(1), None))
}

fn added(text: &str) -> Adjustment {
    Adjustment::Add(Added {
        group: "g".into(),
        server: server(text),
        written: toml::Table::new(),
        since: T0,
        by: "ann@host".into(),
    })
}

#[test]
fn an_override_takes_effect_at_once_and_keeps_the_peer() {
    let world = World::of("a, b");
    let before = peer(&world.group(), "a").id;
    let transitions = world.adjust(vec![weight("a", 3), drain("b", None)], T0);
    assert_eq!(world.shown(T0), ["a up 3", "b draining 1"]);
    assert_eq!(transitions.len(), 1, "{transitions:?}");
    assert_eq!(peer(&world.group(), "a").id, before);
    assert_eq!(several(&world.group(), 3, T0), "a a a");
}

#[test]
fn a_weight_is_its_share_of_the_rotation() {
    let world = World::of("a, b");
    world.adjust(vec![weight("a", 3)], T0);
    assert_eq!(several(&world.group(), 8, T0).matches('a').count(), 6);
}

#[test]
fn what_has_its_end_ends_then_and_not_before() {
    let world = World::of("a, b");
    world.adjust(vec![drain("a", Some(at(600)))], T0);
    assert_eq!(world.live.load().adjustments().next_end(), Some(at(600)));
    assert_eq!(world.tick(at(599)), []);
    assert_eq!(world.shown(at(599)), ["a draining 1", "b up 1"]);
    let ended = world.tick(at(600));
    assert!(matches!(&ended[..], [Ended::Expired(over)] if over.target == target("a")), "{ended:?}");
    assert_eq!(world.shown(at(600)), ["a up 1", "b up 1"]);
    assert!(world.live.load().adjustments().is_empty());
}

#[test]
fn the_override_wins_until_the_files_value_for_that_peer_changes() {
    let world = World::of("a, b");
    world.adjust(vec![weight("a", 3), drain("a", None)], T0);
    assert_eq!(world.file("a max_conns=5, b weight=9", at(1)).ended, []);
    assert_eq!(world.shown(at(1)), ["a draining 3", "b up 9"]);
    let ended = world.file("a weight=2, b weight=9", at(2)).ended;
    assert!(matches!(&ended[..], [Ended::FileChanged(over)] if over.setting == Setting::Weight(3)), "{ended:?}");
    assert_eq!(world.shown(at(2)), ["a draining 2", "b up 9"]);
    world.file("a weight=2 down, b weight=9", at(3));
    assert_eq!(world.shown(at(3)), ["a down 2", "b up 9"]);
    assert!(world.live.load().adjustments().is_empty());
}

#[test]
fn a_server_that_leaves_the_file_takes_its_overrides_along() {
    let world = World::of("a, b");
    world.adjust(vec![weight("a", 3)], T0);
    assert_eq!(world.file("b", at(1)).ended.len(), 1);
    world.file("a, b", at(2));
    assert_eq!(world.shown(at(2)), ["a up 1", "b up 1"]);
}

#[test]
fn a_lift_leaves_the_decision_to_the_file() {
    let world = World::of("a down, b");
    let up = over("a", Setting::Use(Operator::Enabled), Setting::Use(Operator::Down), None);
    world.adjust(vec![Adjustment::Set(up)], T0);
    assert_eq!(world.shown(T0), ["a up 1", "b up 1"]);
    world.adjust(vec![Adjustment::Lift { target: target("a"), kind: Kind::Use }], at(1));
    assert_eq!(world.shown(at(1)), ["a down 1", "b up 1"]);
}

#[test]
fn a_server_that_is_added_lives_through_reloads_until_it_is_removed() {
    let world = World::of("a");
    world.adjust(vec![added("c weight=2")], T0);
    assert_eq!(world.shown(T0), ["a up 1", "c up 2"]);
    let c = peer(&world.group(), "c");
    world.file("a, b", at(1));
    assert_eq!(world.shown(at(1)), ["a up 1", "b up 1", "c up 2"]);
    assert_eq!(peer(&world.group(), "c").id, c.id);
    world.adjust(vec![weight_of_added("c")], at(2));
    world.adjust(vec![Adjustment::Remove { group: "g".into(), server: "c".into() }], at(3));
    assert_eq!(world.shown(at(3)), ["a up 1", "b up 1"]);
    assert!(world.live.load().adjustments().is_empty(), "its overrides went with it");
    assert_eq!(c.cell.verdict(at(3)).state.name(), "draining", "who holds it finishes");
}

fn weight_of_added(server: &str) -> Adjustment {
    Adjustment::Set(over(server, Setting::Weight(5), Setting::Weight(2), None))
}

#[test]
fn a_name_that_is_added_is_asked_for_and_no_longer_when_it_is_removed() {
    let world = World::of("a");
    world.adjust(vec![added("app:80")], T0);
    assert!(world.live.load().names().contains("app"));
    world.adjust(vec![Adjustment::Remove { group: "g".into(), server: "app:80".into() }], at(1));
    assert!(world.live.load().names().is_empty());
}

#[test]
fn a_server_that_the_file_has_meanwhile_is_the_files_and_the_same_peer() {
    let world = World::of("a");
    world.adjust(vec![added("c weight=2")], T0);
    let id = peer(&world.group(), "c").id;
    let ended = world.file("a, c weight=4", at(1)).ended;
    assert!(matches!(&ended[..], [Ended::AddedInVain(_)]), "{ended:?}");
    assert_eq!(world.shown(at(1)), ["a up 1", "c up 4"]);
    assert_eq!(peer(&world.group(), "c").id, id);
}

#[test]
fn a_peer_that_joins_under_an_override_never_gets_a_request() {
    let world = World::of("a, app:80");
    world.adjust(vec![drain("app:80", None)], T0);
    let addrs = vec![[10, 1, 0, 1].into(), [10, 1, 0, 2].into()];
    world.apply(Change::Resolved { host: "app".into(), addrs }, at(1));
    assert_eq!(world.shown(at(1)), ["a up 1", "app:80 draining 1", "app:80 draining 1"]);
    assert_eq!(several(&world.group(), 3, at(1)), "a a a");
}

#[test]
fn what_is_wanted_of_a_server_that_a_source_found_waits_for_it_to_be_found_again() {
    let asks = Upstream { servers_file: Some("peers.json".into()), ..upstream("a") };
    let world = World { live: Live::new(Topology::build_seeded(Arc::new(config(vec![asks])), 1, T0)) };
    let found = |servers: &[&str], now: Timestamp| {
        let peers = servers.iter().map(|text| server(text)).collect();
        world.apply(Change::Discovered { group: "g".into(), source: Source::File, peers }, now);
    };
    found(&["c"], T0);
    world.adjust(vec![weight("c", 3)], T0);
    assert_eq!(world.shown(T0), ["a up 1", "c up 3"]);
    found(&[], at(1));
    found(&["c"], at(2));
    assert_eq!(world.shown(at(2)), ["a up 1", "c up 3"]);
    found(&["c weight=2"], at(3));
    assert_eq!(world.shown(at(3)), ["a up 1", "c up 2"], "the source says something else now");
}

#[test]
fn downtime_adds_up_over_the_states_in_which_a_peer_does_not_serve() {
    use std::sync::atomic::Ordering::Relaxed;
    let world = World::of("a, b");
    fail(&world.group(), "a", hard(), at(10));
    let a = peer(&world.group(), "a");
    assert_eq!(a.tally.downtime.load(Relaxed), 0, "it lasts");
    world.adjust(vec![drain("a", None)], at(14));
    assert_eq!(Duration::from_micros(a.tally.downtime.load(Relaxed)), Duration::from_secs(4));
    a.tally.reset();
    assert_eq!(a.tally.downtime.load(Relaxed), 0);
}
