//! To whom is a request bound, and when is it not?

use std::sync::Arc;
use std::time::Duration;

use super::fixture::*;
use crate::affinity::{Secret, Tag};
use crate::balancer::Method;
use crate::config::model::{Learn, Queue, Sticky, StickyCookie, Upstream};
use crate::config::template::{Template, Use};
use crate::health::Outcome;
use crate::topology::{Ask, Change, Group, Topology, Tried};

fn by_cookie(secret: &str) -> Sticky {
    Sticky::Cookie(StickyCookie {
        name: "srv_id".to_owned(),
        expires: None,
        domain: None,
        path: "/".to_owned(),
        httponly: false,
        secure: false,
        samesite: None,
        nocache: false,
        secret: Some(Secret::new(secret)),
    })
}

fn templates(text: &str) -> Vec<Template> {
    vec![Template::parse(text, Use::Answer).expect("a template")]
}

fn by_route() -> Sticky {
    Sticky::Route(templates("$cookie_route"))
}

fn by_learning(size: usize, lookup: &str) -> Sticky {
    Sticky::Learn(Learn {
        create: templates("$upstream_cookie_sid"),
        lookup: templates(lookup),
        size,
        timeout: Duration::from_secs(600),
        header: false,
    })
}

fn sticky(servers: &str, sticky: Sticky) -> Upstream {
    Upstream { sticky: Some(sticky), ..upstream(servers) }
}

fn cookies(servers: &str) -> Upstream {
    sticky(servers, by_cookie("secret"))
}

/// What stands for the peer of a letter.
fn tag(group: &Group, letter: &str) -> Tag {
    let seat = group.seats().find(|seat| &*seat.peer.text == letter).expect("a letter of the group");
    seat.tag.expect("it has a tag")
}

/// One whole GET that is bound to a tag: whom it got.
fn bound(group: &Group, tag: Tag, seconds: u64) -> String {
    let tried = Tried::new();
    let found = group.try_lease(&Ask { bound: Some(tag), ..get(&tried) }, at(seconds));
    let told = told(&found);
    if let Ok(lease) = found {
        lease.finish(Outcome::Success, at(seconds));
    }
    told
}

fn bound_several(group: &Group, letter: &str, count: usize) -> String {
    (0..count).map(|_| bound(group, tag(group, letter), 0)).collect::<Vec<_>>().join(" ")
}

/// The snapshot after another configuration.
fn reload(topology: &Topology, upstream: Upstream) -> (Topology, Arc<Group>) {
    let (topology, _) = topology.apply(Change::Config(Arc::new(config(vec![upstream]))), at(1));
    let group = topology.groups()[0].clone();
    (topology, group)
}

#[test]
fn a_bound_request_gets_its_peer_whatever_the_algorithm_says() {
    for method in [
        Method::RoundRobin,
        Method::LeastConn,
        Method::IpHash,
        Method::Hash { consistent: true },
        Method::Random { two: None },
    ] {
        let (_topology, group) = group(Upstream { method: method.clone(), ..cookies("a, b weight=9, c") });
        assert_eq!(bound_several(&group, "c", 5), "c c c c c", "{method:?}");
    }
}

#[test]
fn bound_requests_leave_the_rotation_of_the_others_alone() {
    let (_topology, group) = group(cookies("a, b"));
    assert_eq!(one(&group, T0), "a");
    assert_eq!(bound_several(&group, "b", 3), "b b b");
    assert_eq!(several(&group, 4, T0), "b a b a");
}

#[test]
fn a_draining_peer_keeps_who_is_bound_to_it_and_gets_nobody_else() {
    let (_topology, group) = group(cookies("a drain, b, c, d"));
    assert_eq!(bound_several(&group, "a", 3), "a a a");
    assert_eq!(several(&group, 4, T0), "b c d b");
    assert_eq!(bound_several(&group, "a", 1), "a");
}

#[test]
fn a_draining_peer_that_is_the_only_one_serves_who_is_bound_to_it() {
    let (_topology, group) = group(cookies("a drain"));
    assert_eq!(bound_several(&group, "a", 2), "a a");
    assert_eq!(one(&group, T0), "Unavailable");
}

#[test]
fn who_cannot_be_had_is_left_at_once() {
    let (_topology, group) = group(cookies("a down, b, c max_conns=1, d drain"));
    assert_eq!(bound_several(&group, "a", 1), "b", "down");
    let tried = Tried::new();
    let held = group.try_lease(&Ask { bound: Some(tag(&group, "c")), ..get(&tried) }, T0);
    assert_eq!(told(&held), "c");
    assert_eq!(bound_several(&group, "c", 1), "b", "full");
    drop(held);
    fail(&group, "b", hard(), T0);
    assert_eq!(bound_several(&group, "b", 1), "c", "unavailable");
    let mut tried = Tried::new();
    tried.insert(peer(&group, "d").id);
    let found = group.try_lease(&Ask { bound: Some(tag(&group, "d")), tried: &tried, ..get(&tried) }, T0);
    assert_eq!(told(&found), "c", "tried");
}

#[test]
fn a_bound_request_may_be_the_trial_of_its_peer_if_it_may_be_sent_again() {
    let (_topology, group) = group(cookies("a, b"));
    fail(&group, "a", hard(), T0);
    let tried = Tried::new();
    let found = group.try_lease(&Ask { bound: Some(tag(&group, "a")), ..post(&tried) }, at(10));
    assert_eq!(told(&found), "b");
    assert_eq!(bound(&group, tag(&group, "a"), 10), "a!");
    assert_eq!(bound(&group, tag(&group, "a"), 10), "a");
}

#[test]
fn a_backup_keeps_who_is_bound_to_it_only_while_backups_are_asked() {
    let (_topology, group) = group(cookies("a, b backup, c backup"));
    assert_eq!(bound_several(&group, "c", 1), "a");
    fail(&group, "a", hard(), T0);
    assert_eq!(bound_several(&group, "c", 3), "c c c");
}

#[test]
fn a_bound_request_waits_in_the_queue_like_everybody() {
    let queue = Some(Queue { size: 10, timeout: Duration::from_secs(1) });
    let (_topology, group) = group(Upstream { queue, ..cookies("a max_conns=1") });
    let tried = Tried::new();
    let _held = group.try_lease(&get(&tried), T0);
    assert_eq!(bound_several(&group, "a", 1), "Room");
}

#[test]
fn all_who_share_the_secret_agree_and_nobody_else() {
    let tags = |secret: &str, servers: &str| {
        let (_topology, group) = group(sticky(servers, by_cookie(secret)));
        ["a", "b"].map(|letter| tag(&group, letter))
    };
    assert_eq!(tags("one", "a, b"), tags("one", "b weight=2, a"), "whatever the order and the weights");
    assert_ne!(tags("one", "a, b"), tags("two", "a, b"));
}

#[test]
fn with_a_route_a_peer_is_known_by_that_and_not_by_its_address() {
    let (_topology, one) = group(cookies("a route=x, b route=y, c route=y"));
    let (_topology, other) = group(cookies("d route=x, e route=y, f route=y"));
    for (before, after) in [("a", "d"), ("b", "e"), ("c", "f")] {
        assert_eq!(tag(&one, before), tag(&other, after));
    }
    assert_ne!(tag(&one, "b"), tag(&one, "c"), "a cookie still means one peer");
}

#[test]
fn a_route_leads_to_whoever_has_it_the_least_busy_first() {
    let (_topology, group) = group(sticky("a route=x, b route=y, c route=y weight=2, d", by_route()));
    let y = tag(&group, "b");
    assert_eq!(y, tag(&group, "c"));
    let tried = Tried::new();
    let held: Vec<_> = (0..6).map(|_| group.try_lease(&Ask { bound: Some(y), ..get(&tried) }, T0)).collect();
    let mut told: Vec<String> = held.iter().map(told).collect();
    told.sort();
    assert_eq!(told.join(""), "bbcccc");
    assert_eq!(bound_several(&group, "a", 2), "a a");
    assert!(group.seats().any(|seat| seat.tag.is_none()), "d has no route, so nobody is bound to it");
    let unknown = group.binding.as_ref().expect("it is sticky").key.tag(&[b"z"]);
    assert_eq!(bound(&group, unknown, 0), "c", "who has no such peer is balanced");
}

#[test]
fn a_reload_keeps_tags_and_what_was_learned_and_forgets_what_means_something_else() {
    let (topology, first) = group(sticky("a, b", by_learning(100, "$cookie_sid")));
    let binding = first.binding.as_ref().expect("it is sticky");
    let session = binding.key.session(b"s1");
    let learned = |group: &Group| {
        let sessions = group.binding.as_ref()?.sessions.clone()?;
        sessions.find(session, Duration::from_secs(600), T0)
    };
    binding.sessions.as_ref().expect("it learns").learn(session, tag(&first, "b"), 100, Duration::from_secs(600), T0);

    let (topology, second) = reload(&topology, sticky("b, c", by_learning(200, "$cookie_sid")));
    assert_eq!(learned(&second), Some(tag(&first, "b")));
    assert_eq!(bound(&second, tag(&first, "b"), 1), "b");
    assert!(second.knows(tag(&first, "b")) && !second.knows(tag(&first, "a")), "a is gone");

    let (_topology, third) = reload(&topology, sticky("b, c", by_learning(200, "$arg_sid")));
    assert_eq!(learned(&third), None, "other variables, other sessions");
}

#[test]
fn a_reload_without_sticky_binds_nobody() {
    let (topology, first) = group(cookies("a, b"));
    let old = tag(&first, "b");
    let (_topology, second) = reload(&topology, upstream("a, b"));
    assert!(second.binding.is_none() && !second.knows(old));
    assert_eq!(bound(&second, old, 1), "a");
}
