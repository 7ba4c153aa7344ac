//! Rows: a check added or changed by a reload; other changes of the policy; moves between tiers.

use std::sync::Arc;
use std::time::Duration;

use super::script::{CHECKED, Group, PLAIN, after, plain};
use crate::health::{Admission, Pace, Policy, Pool, Signal, State, Thresholds, Tier};
use State::{Checking, Unavail, Unhealthy, Up};

fn reloaded(script: &str, before: Policy, policy: Policy, check_changed: bool) -> Group {
    let mut group = after(script, before);
    group.now = group.now + Duration::from_millis(1);
    group.observe(0, Signal::PolicyChanged { policy, check_changed });
    group
}

#[test]
fn a_check_added_by_a_reload_leaves_present_peers_their_verdict() {
    let group = reloaded("", PLAIN, CHECKED, true);
    assert_eq!((group.state(), group.a().probe_pace(group.now)), (Up, Pace::Interval));
    assert_eq!(group.then("S S").state(), Up);
    assert_eq!(reloaded("", PLAIN, CHECKED, true).then("S S S").state(), Unhealthy);
    assert_eq!(reloaded("hard", PLAIN, CHECKED, true).state(), Unavail);
}

#[test]
fn a_check_changed_by_a_reload_starts_counting_from_nothing() {
    assert_eq!(reloaded("P S S", CHECKED, CHECKED, true).then("S S").state(), Up);
    assert_eq!(reloaded("P S S", CHECKED, CHECKED, true).then("S S S").state(), Unhealthy);
    assert_eq!(reloaded("P S S S P", CHECKED, CHECKED, true).then("P").state(), Unhealthy);
    assert_eq!(reloaded("P S S S", CHECKED, CHECKED, true).reason(), "3 of 3 probes failed: GET /health answered 500");
    assert_eq!(reloaded("S", CHECKED, CHECKED, true).state(), Checking);
}

#[test]
fn a_reload_that_leaves_the_check_alone_leaves_its_counters_alone() {
    assert_eq!(reloaded("P S S", CHECKED, Policy { max_fails: 7, ..CHECKED }, false).then("S").state(), Unhealthy);
}

#[test]
fn lower_thresholds_are_met_by_later_probes_only() {
    let lower = Policy { check: Some(Thresholds { fails: 1, passes: 1 }), ..CHECKED };
    assert_eq!(reloaded("P S S", CHECKED, lower.clone(), true).state(), Up);
    assert_eq!(reloaded("P S S", CHECKED, lower.clone(), true).then("S").state(), Unhealthy);
    assert_eq!(reloaded("P S S S P", CHECKED, lower, true).then("P").state(), Up);
}

#[test]
fn a_probe_of_the_old_check_says_nothing_to_the_new_one() {
    let mut group = after("P", CHECKED);
    let began = group.now;
    group.now = group.now + Duration::from_millis(500);
    let policy = Policy { check: Some(Thresholds { fails: 1, passes: 1 }), ..CHECKED };
    group.observe(0, Signal::PolicyChanged { policy, check_changed: true });
    let seen = crate::health::Seen::Unreachable { detail: "connection refused".into() };
    group.observe(0, Signal::Probe { began, seen, lagged: false });
    assert_eq!(group.state(), Up);
}

#[test]
fn a_check_removed_by_a_reload_no_longer_objects() {
    for script in ["", "S", "P S S S", "P X"] {
        let group = reloaded(script, CHECKED, PLAIN, true);
        assert_eq!(group.state(), Up, "{script}");
        assert_eq!(group.reason(), "its health check was removed from the configuration", "{script}");
    }
    assert_eq!(reloaded("P hard", CHECKED, PLAIN, true).state(), Unavail);
}

#[test]
fn a_trial_after_a_check_was_added_waits_for_a_pass() {
    let group = reloaded("hard", PLAIN, CHECKED, true).then("+10s");
    assert_eq!(group.admission(), Admission::LastResort);
    assert_eq!(group.then("P").admission(), Admission::Trial);
}

#[test]
fn another_fail_timeout_moves_the_trial_and_another_max_fails_judges_the_next_failure() {
    let longer = Policy { fail_timeout: Duration::from_secs(30), ..PLAIN };
    let group = reloaded("hard", PLAIN, longer, false).then("+10s");
    assert_eq!(group.admission(), Admission::LastResort);
    assert_eq!(group.then("+20s").admission(), Admission::Trial);
    assert_eq!(reloaded("hard", plain(3), plain(2), false).state(), Up);
    assert_eq!(reloaded("hard", plain(3), plain(2), false).then("hard").state(), Unavail);
}

#[test]
fn failures_that_no_longer_count_no_longer_eject() {
    let group = reloaded("hard", PLAIN, plain(0), false);
    assert_eq!(group.state(), Up);
    assert_eq!(group.reason(), "its failures no longer count: max_fails or fail_timeout is 0");
}

#[test]
fn a_peer_that_moves_to_another_tier_or_pool_keeps_its_verdict_and_takes_its_count_along() {
    let group = after("soft", PLAIN);
    let ejected = |pool: &Pool, tier| (pool.counts(tier).members, pool.counts(tier).ejected);
    group.a().assign(&group.pool, Tier::Backup);
    assert_eq!((ejected(&group.pool, Tier::Primary), ejected(&group.pool, Tier::Backup)), ((9, 0), (1, 1)));
    let other = Arc::new(Pool::new(50));
    group.a().assign(&other, Tier::Primary);
    assert_eq!((ejected(&group.pool, Tier::Backup), ejected(&other, Tier::Primary)), ((0, 0), (1, 1)));
    assert_eq!(group.state(), Unavail);
}
