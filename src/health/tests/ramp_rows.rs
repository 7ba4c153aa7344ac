//! Rows: slow_start.

use std::time::Duration;

use super::script::{CHECKED, Group, PLAIN, after};
use crate::health::{Origin, Policy, Tier};
use crate::share::FULL;

const RAMP: Policy = Policy { slow_start: Duration::from_secs(10), ..PLAIN };
const CHECKED_RAMP: Policy = Policy { slow_start: Duration::from_secs(10), ..CHECKED };

fn share(script: &str, policy: Policy) -> u32 {
    let group = after(script, policy);
    assert_eq!(group.a().ramp(group.now), group.verdict().ramp, "picks and views agree: {script}");
    group.verdict().ramp
}

#[test]
fn a_peer_ramps_up_when_it_leaves_unavail_unhealthy_or_down() {
    for script in ["P hard +10s trial=ok", "P S S S P P", "P down enable P", "P hard S S S P P +10s trial=ok"] {
        assert_eq!(share(script, CHECKED_RAMP), 1, "{script}");
        assert_eq!(share(&format!("{script} +5s"), CHECKED_RAMP), 512, "{script}");
        assert_eq!(share(&format!("{script} +10s"), CHECKED_RAMP), FULL, "{script}");
    }
    assert_eq!(share("down enable +5s", RAMP), 512);
    assert_eq!(share("file=down file=enable +5s", RAMP), 512);
}

#[test]
fn a_new_peer_that_joins_a_live_group_ramps_up() {
    for (policy, script) in [(RAMP, "k:ok"), (CHECKED_RAMP, "k:R k:P")] {
        let mut group = after("P", policy.clone());
        group.join(policy, Tier::Primary, Origin::JoinsLive);
        let ramp = group.then(script).then("+5s").verdict_of(10).ramp;
        assert!((512..=513).contains(&ramp), "{ramp}");
    }
}

#[test]
fn nothing_ramps_at_process_start() {
    assert_eq!(share("", RAMP), FULL);
    assert_eq!(share("P", CHECKED_RAMP), FULL);
    assert_eq!(share("S R +40s P", CHECKED_RAMP), FULL);
}

#[test]
fn an_only_peer_does_not_ramp() {
    assert_eq!(Group::of(1, RAMP).then("hard +10s trial=ok").verdict().ramp, FULL);
    assert_eq!(Group::of(2, RAMP).then("b:down a:hard +10s trial=ok").verdict().ramp, FULL);
    assert_eq!(Group::of(1, RAMP).with_backup(RAMP).then("hard +10s trial=ok").verdict().ramp, 1);
}

#[test]
fn a_peer_that_came_back_by_last_resort_or_was_kept_does_not_ramp() {
    assert_eq!(share("hard last=ok", RAMP), FULL);
    assert_eq!(share("P T T T last=ok", CHECKED_RAMP), FULL);
    let group = Group::of(2, RAMP).then("b:soft a:soft");
    assert!(group.verdict().kept);
    assert_eq!((group.verdict().ramp, group.then("+10s tick").verdict().ramp), (FULL, FULL));
}

#[test]
fn draining_alone_needs_no_ramp_but_restarts_an_unfinished_one() {
    assert_eq!(share("drain lift", RAMP), FULL);
    assert_eq!(share("hard +10s trial=ok +5s drain lift", RAMP), 1);
    assert_eq!(share("hard drain +10s lift trial=ok", RAMP), 1);
}

#[test]
fn a_failure_in_a_ramp_stops_its_clock_for_a_second() {
    let policy = Policy { max_fails: 9, ..RAMP };
    let ramp = "down enable +5s soft";
    assert_eq!(share(ramp, policy.clone()), 512);
    assert_eq!(share(&format!("{ramp} +1s"), policy.clone()), 512);
    assert_eq!(share(&format!("{ramp} +2s"), policy.clone()), 614);
    assert_eq!(share(&format!("{ramp} again quit ok +2s"), policy), 615);
}

#[test]
fn a_ramp_is_held_back_while_its_peer_lags() {
    let ramp = "down enable +5s";
    assert_eq!(share(&format!("{ramp} lags +1s"), RAMP), 512);
    assert_eq!(share(&format!("{ramp} lags +2s"), RAMP), 614);
    assert_eq!(share(&format!("{ramp} lags +1s lags +1s lags +1s"), RAMP), 512);
    // Without a ramp it means nothing.
    assert_eq!(share("lags", RAMP), FULL);
    assert!(after("lags lags", RAMP).log().is_empty());
}

#[test]
fn leaving_up_restarts_the_ramp() {
    assert_eq!(share("hard +10s trial=ok +9s hard +10s trial=ok", RAMP), 1);
    assert_eq!(share("hard +10s trial=ok +9s hard +10s trial=ok +5s", RAMP), 512);
}

#[test]
fn without_slow_start_nothing_ramps() {
    assert_eq!(share("hard +10s trial=ok", PLAIN), FULL);
}
