//! Who is offered, in which order.

use std::time::Duration;

use super::fixture::*;
use crate::balancer::Method;
use crate::config::model::{Queue, Upstream};
use crate::health::{Command, Operator, Outcome, Seen, State};
use crate::topology::{Ask, Group, Lease, Refused, Tried, Tries, Why};

/// Requests that stay: whom they got, in order.
fn held(group: &Group, count: usize) -> (String, Vec<Lease>) {
    let tried = Tried::new();
    let found: Vec<_> = (0..count).map(|_| group.try_lease(&get(&tried), T0)).collect();
    let told: Vec<String> = found.iter().map(told).collect();
    (told.join(" "), found.into_iter().flatten().collect())
}

/// One request that fails everywhere: whom it tried, and how it ended.
fn tries(group: &Group, failure: &Outcome, at: crate::clock::Timestamp) -> String {
    let mut tried = Tried::new();
    let mut story = Vec::new();
    for _ in 0..10 {
        let found = group.try_lease(&get(&tried), at);
        story.push(told(&found));
        match found {
            Ok(lease) => _ = lease.give_up(failure.clone(), &mut tried, at),
            Err(_) => break,
        }
    }
    story.join(" ")
}

fn probe(group: &Group, letter: &str, seen: Seen) {
    peer(group, letter).observe_probe(T0, seen, false, T0);
}

fn bad_status() -> Seen {
    Seen::BadStatus { detail: "GET /health answered 500".into() }
}

fn unreachable() -> Seen {
    Seen::Unreachable { detail: "connection refused".into() }
}

fn checked(servers: &str) -> Upstream {
    Upstream { health_check: Some(check()), ..upstream(servers) }
}

#[test]
fn the_rotation_is_one_for_all_and_weighted_smoothly() {
    assert_eq!(several(&group(upstream("a, b, c")).1, 6, T0), "a b c a b c");
    assert_eq!(several(&group(upstream("a weight=5, b, c")).1, 7, T0), "a a b a c a a");
}

#[test]
fn down_and_draining_peers_get_nothing_not_even_as_a_last_resort() {
    assert_eq!(several(&group(upstream("a, b down, c drain")).1, 3, T0), "a a a");
    assert_eq!(several(&group(upstream("a down, b drain")).1, 1, T0), "Unavailable");
}

#[test]
fn backups_serve_only_while_no_primary_does() {
    let (_topology, group) = group(upstream("a, b, c backup"));
    assert_eq!(several(&group, 4, T0), "a b a b");
    fail(&group, "a", hard(), T0);
    assert_eq!(several(&group, 3, T0), "b b b");
    fail(&group, "b", hard(), T0);
    assert_eq!(several(&group, 3, T0), "c c c");
}

#[test]
fn a_retry_goes_to_the_other_primaries_then_to_backups_and_never_twice_to_one() {
    let (_topology, group) = group(upstream("a max_fails=0, b max_fails=0, c max_fails=0 backup"));
    assert_eq!(tries(&group, &hard(), T0), "a b c AllTried");
}

#[test]
fn when_nobody_is_up_the_longest_unattempted_is_tried_primaries_first() {
    let (_topology, group) = group(upstream("a, b, c backup"));
    for (second, letter) in [(1, "b"), (2, "a"), (3, "c")] {
        fail(&group, letter, hard(), at(second));
    }
    let tried = Tried::new();
    let kept: Vec<_> = (0..4).map(|_| group.try_lease(&get(&tried), at(4))).collect();
    let order: Vec<String> = kept.iter().map(told).collect();
    assert_eq!(order, ["b?", "a?", "b?", "a?"], "stamped at the pick");
    assert_eq!(tries(&group, &hard(), at(5)), "b? a? c? AllTried");
}

#[test]
fn a_last_resort_that_succeeds_is_up_again() {
    let (_topology, group) = group(upstream("a, b"));
    fail(&group, "a", hard(), at(1));
    fail(&group, "b", hard(), at(2));
    assert_eq!(several(&group, 3, at(3)), "a? a a");
}

#[test]
fn a_post_is_served_by_the_last_resort_too() {
    let (_topology, group) = group(upstream("a"));
    fail(&group, "a", hard(), T0);
    assert_eq!(told(&group.try_lease(&post(&Tried::new()), at(1))), "a?");
}

#[test]
fn after_its_time_one_repeatable_request_is_the_trial() {
    let (_topology, group) = group(upstream("a, b"));
    fail(&group, "a", hard(), T0);
    let tried = Tried::new();
    assert_eq!(told(&group.try_lease(&get(&tried), at(9))), "b");
    assert_eq!(told(&group.try_lease(&post(&tried), at(10))), "b", "may not be sent again");
    let trial = group.try_lease(&get(&tried), at(10));
    assert_eq!(told(&trial), "a!");
    assert_eq!(told(&group.try_lease(&get(&tried), at(10))), "b", "one at a time");
    trial.expect("it is a lease").finish(Outcome::Success, at(11));
    assert_eq!(several(&group, 4, at(11)), "a b a b");
}

#[test]
fn a_trial_that_fails_is_followed_by_another_after_the_same_time() {
    let (_topology, group) = group(upstream("a, b"));
    fail(&group, "a", hard(), T0);
    let tried = Tried::new();
    let trial = group.try_lease(&get(&tried), at(10)).expect("a is due");
    trial.finish(hard(), at(12));
    assert_eq!(several(&group, 2, at(21)), "b b");
    assert_eq!(several(&group, 2, at(22)).split(' ').next(), Some("a!"));
}

#[test]
fn a_trial_that_tells_nothing_is_given_to_the_next() {
    let (_topology, group) = group(upstream("a, b"));
    fail(&group, "a", hard(), T0);
    let tried = Tried::new();
    let trial = group.try_lease(&get(&tried), at(10)).expect("a is due");
    trial.finish(Outcome::Neutral, at(11));
    assert_eq!(one(&group, at(11)), "a!");
}

#[test]
fn who_has_tried_the_peer_is_not_its_trial_and_others_are() {
    let (_topology, group) = group(upstream("a, b"));
    fail(&group, "a", hard(), T0);
    let mut tried = Tried::new();
    tried.insert(peer(&group, "a").id);
    assert_eq!(told(&group.try_lease(&get(&tried), at(10))), "b");
    assert_eq!(one(&group, at(10)), "a!");
}

#[test]
fn a_backup_that_is_due_waits_until_backups_are_asked() {
    let (_topology, group) = group(upstream("a, b backup"));
    fail(&group, "a", hard(), T0);
    fail(&group, "b", hard(), T0);
    assert_eq!(several(&group, 3, at(10)), "a! a a");
    fail(&group, "a", hard(), at(11));
    assert_eq!(one(&group, at(11)), "b!");
}

#[test]
fn with_a_key_the_trial_waits_for_a_request_that_leads_to_the_peer() {
    let hashed = Upstream { method: Method::Hash { consistent: true }, ..upstream("a, b, c") };
    let (_topology, group) = group(hashed);
    let tried = Tried::new();
    let whom = |key: &str, seconds| {
        let found = group.try_lease(&Ask { key: key.as_bytes(), ..get(&tried) }, at(seconds));
        told(&found)
    };
    let keys: Vec<String> = (0..60).map(|n| format!("/page/{n}")).collect();
    let before: Vec<String> = keys.iter().map(|key| whom(key, 0)).collect();
    fail(&group, "a", hard(), T0);
    let during: Vec<String> = keys.iter().map(|key| whom(key, 5)).collect();
    let mut trials = 0;
    for ((key, before), during) in keys.iter().zip(&before).zip(&during) {
        assert_ne!(during, "a");
        assert!(before == "a" || before == during, "{key} moved from {before} to {during}");
        let after = whom(key, 10);
        assert!(after == "a!" && before == "a" || after == *during, "{key}: {after}");
        trials += usize::from(after == "a!");
    }
    assert!(trials >= 1, "every trial ends at once here, so each key of a's is one");
}

#[test]
fn without_any_verdict_a_request_waits_with_one_it_does_not() {
    let (_topology, group) = group(checked("a, b backup"));
    assert_eq!(one(&group, T0), "Verdict");
    probe(&group, "a", unreachable());
    assert_eq!(one(&group, T0), "Verdict", "b has said nothing yet");
    probe(&group, "b", unreachable());
    assert_eq!(one(&group, T0), "Unavailable", "checking is never a last resort");
    probe(&group, "b", Seen::Pass);
    assert_eq!(one(&group, T0), "b");
}

#[test]
fn unreachable_peers_are_a_last_resort_and_those_that_say_no_are_not() {
    let (_topology, group) = group(checked("a, b"));
    ["a", "b"].iter().for_each(|letter| probe(&group, letter, Seen::Pass));
    probe(&group, "a", unreachable());
    probe(&group, "b", bad_status());
    assert_eq!(tries(&group, &hard(), T0), "a? AllTried");
    probe(&group, "a", bad_status());
    assert_eq!(tries(&group, &hard(), T0), "Unavailable");
}

#[test]
fn those_that_say_no_are_tried_if_all_do_and_the_configuration_wants_it() {
    let wanted = Upstream { try_when_all_fail: true, ..checked("a, b, c down") };
    let (_topology, group) = group(wanted);
    ["a", "b"].iter().for_each(|letter| probe(&group, letter, Seen::Pass));
    probe(&group, "a", bad_status());
    probe(&group, "b", unreachable());
    assert_eq!(tries(&group, &soft(), T0), "b? AllTried", "not all say no");
    probe(&group, "b", bad_status());
    assert_eq!(tries(&group, &soft(), T0), "a? b? AllTried");
}

#[test]
fn max_conns_holds_for_everybody() {
    // nginx-tests: upstream_max_conns.t
    let table = [
        ("a max_conns=2, b backup", 6, "a a b b b b"),
        ("a max_conns=2, b backup max_conns=3", 6, "a a b b b Full"),
        ("a weight=2 max_conns=1, b", 4, "a b b b"),
        ("a max_conns=1, b max_conns=1", 3, "a b Full"),
    ];
    for (servers, count, expected) in table {
        let (_topology, group) = group(upstream(servers));
        assert_eq!(held(&group, count).0, expected, "{servers}");
    }
}

#[test]
fn max_conns_holds_for_the_last_resort() {
    let (_topology, group) = group(upstream("a max_conns=1"));
    fail(&group, "a", hard(), T0);
    let (story, leases) = held(&group, 2);
    assert_eq!(story, "a? Full");
    drop(leases);
    assert_eq!(held(&group, 1).0, "a?");
}

#[test]
fn a_full_peer_that_is_up_is_waited_for_or_refused_rather_than_a_failed_one_tried() {
    let (_topology, full) = group(upstream("a max_conns=1, b"));
    fail(&full, "b", hard(), T0);
    assert_eq!(held(&full, 2).0, "a Full");
    let queue = Some(Queue { size: 1, timeout: Duration::from_secs(1) });
    let (_topology, queued) = group(Upstream { queue, ..upstream("a max_conns=1, b") });
    fail(&queued, "b", hard(), T0);
    assert_eq!(held(&queued, 2).0, "a Room");
}

#[test]
fn the_cap_keeps_a_peer_that_only_failed_softly() {
    let capped = || Upstream { max_ejected: 50, ..upstream("a, b") };
    let (_topology, soft_group) = group(capped());
    fail(&soft_group, "a", soft(), T0);
    fail(&soft_group, "b", soft(), T0);
    assert_eq!(several(&soft_group, 2, T0), "b b");
    assert!(peer(&soft_group, "b").cell.verdict(T0).kept);
    let (_topology, hard_group) = group(capped());
    fail(&hard_group, "a", hard(), T0);
    fail(&hard_group, "b", hard(), T0);
    assert_eq!(peer(&hard_group, "b").cell.verdict(T0).state, State::Unavail);
}

#[test]
fn of_one_request_only_the_first_soft_failure_counts() {
    let (_topology, group) = group(upstream("a, b, c"));
    assert_eq!(tries(&group, &soft(), T0), "a b c AllTried");
    let states = ["a", "b", "c"].map(|letter| peer(&group, letter).cell.verdict(T0).state);
    assert_eq!(states, [State::Unavail, State::Up, State::Up]);
}

#[test]
fn an_empty_group_has_nobody() {
    let (_topology, group) = group(upstream("app:5000"));
    assert_eq!((one(&group, T0).as_str(), group.len(), group.tries(0).in_all), ("NoPeers", 0, 1));
}

#[test]
fn the_operator_decides_at_once() {
    let (_topology, group) = group(upstream("a, b"));
    let down = Command::Override { to: Operator::Down, until: None };
    let change = peer(&group, "a").set_operator(down, T0).expect("a change");
    assert_eq!((change.transition.from, change.transition.to), (State::Up, State::Down));
    assert_eq!(several(&group, 2, T0), "b b");
    assert!(peer(&group, "a").set_operator(Command::Lift, T0).is_some());
    assert_eq!(several(&group, 2, T0), "a b");
}

#[test]
fn an_override_expires_by_the_tick() {
    let (topology, group) = group(upstream("a, b"));
    peer(&group, "a").set_operator(Command::Override { to: Operator::Drain, until: Some(at(5)) }, T0);
    assert_eq!(topology.wake_at(), Some(at(5)));
    assert!(topology.tick(at(4)).is_empty());
    assert_eq!(topology.tick(at(5)).len(), 1);
    assert_eq!(several(&group, 2, at(5)), "a b");
    assert_eq!(topology.wake_at(), None);
}

#[test]
fn retry_after_is_the_time_to_the_next_look_rounded_up_from_1_to_60() {
    // fail_timeout of a and b (both failed at T0, both tried), when asked, next probe; seconds
    let table: [(u32, u32, u64, Option<u64>, u64); 6] = [
        (10, 20, 0, None, 10),
        (10, 20, 3_500, None, 7),
        (10, 20, 12_000, None, 1),
        (600, 300, 0, None, 60),
        (30, 30, 0, Some(4_200), 5),
        (30, 30, 0, Some(40_000), 30),
    ];
    for (a, b, asked, probe, seconds) in table {
        let (_topology, group) = group(upstream(&format!("a fail_timeout={a}, b fail_timeout={b}")));
        let mut tried = Tried::new();
        for letter in ["a", "b"] {
            fail(&group, letter, hard(), T0);
            tried.insert(peer(&group, letter).id);
        }
        if let Some(millis) = probe {
            peer(&group, "b").probe_scheduled(T0 + Duration::from_millis(millis));
        }
        let found = group.try_lease(&get(&tried), T0 + Duration::from_millis(asked));
        let Err(Refused::Nobody(nobody)) = found else { panic!("{}", told(&found)) };
        assert_eq!((nobody.why, nobody.retry_after), (Why::AllTried, seconds), "{a} {b} {asked} {probe:?}");
    }
}

#[test]
fn retry_after_says_a_second_for_room_and_a_minute_for_the_operator() {
    let (_topology, full) = group(upstream("a max_conns=1"));
    let (_, _leases) = held(&full, 1);
    let (_topology, down) = group(upstream("a down"));
    for (group, seconds) in [(full, 1), (down, 60)] {
        let found = group.try_lease(&get(&Tried::new()), T0);
        let Err(Refused::Nobody(nobody)) = found else { panic!("{}", told(&found)) };
        assert_eq!(nobody.retry_after, seconds);
    }
}

#[test]
fn tries_are_four_and_some_that_reach_nobody_unless_configured() {
    // servers, configured; asked, in all
    let table = [
        ("a", 0, (1, 1)),
        ("a, b", 0, (2, 2)),
        ("a, b, c", 0, (3, 3)),
        ("a, b, c, d, e", 0, (4, 5)),
        ("a, b, c, d, e, f, g, h, i, j, k, l, m", 0, (4, 12)),
        ("a, b, c, d", 9, (4, 4)),
        ("a, b, c, d", 2, (2, 2)),
        ("a, b", 1, (1, 1)),
        ("a, b backup", 0, (2, 2)),
    ];
    for (servers, configured, (asked, in_all)) in table {
        let tries = group(upstream(servers)).1.tries(configured);
        assert_eq!(tries, Tries { asked, in_all }, "{servers}, {configured}");
    }
}
