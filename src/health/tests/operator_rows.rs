//! Rows: states, voices, operator down, drain, gone, `--for`, file against override.

use super::script::{CHECKED, Group, PLAIN, after};
use crate::health::{Admission, Pace, Seen, Signal, State, Tier};
use State::{Checking, Down, Draining, Unavail, Unhealthy, Up};

#[test]
fn of_several_states_the_one_shown_is_down_draining_unhealthy_checking_unavail_up() {
    let table = [
        ("P", Up),
        ("P hard", Unavail),
        ("", Checking),
        ("P S S S", Unhealthy),
        ("P hard S S S", Unhealthy),
        ("P hard S S S drain", Draining),
        ("S drain", Draining),
        ("P hard gone", Draining),
        ("P hard S S S gone down", Down),
        ("P gone drain down", Down),
    ];
    for (script, state) in table {
        assert_eq!(after(script, CHECKED).state(), state, "{script}");
    }
}

#[test]
fn ordinary_traffic_takes_the_consent_of_operator_probes_and_traffic() {
    for script in ["P down", "P drain", "P gone", "", "S", "P S S S", "P hard"] {
        assert_ne!(after(script, CHECKED).admission(), Admission::Ordinary, "{script}");
    }
    assert_eq!(after("P", CHECKED).admission(), Admission::Ordinary);
}

#[test]
fn down_means_no_traffic_and_no_probes() {
    let group = after("P down", CHECKED);
    assert_eq!((group.admission(), group.a().probe_pace(group.now)), (Admission::Refused, Pace::None));
    assert_eq!(group.log(), ["checking → up: a probe passed", "up → down: set down by the operator"]);
}

#[test]
fn a_probe_that_was_under_way_when_the_peer_was_set_down_changes_nothing() {
    assert_eq!(after("P down S S S", CHECKED).state(), Down);
    let mut group = after("P", CHECKED);
    let began = group.now;
    group = group.then("down enable");
    group.observe(0, Signal::Probe { began, seen: Seen::Pass, lagged: false });
    assert_eq!((group.state(), group.admission()), (Checking, Admission::Unprobed));
}

#[test]
fn leaving_down_is_checking_if_a_check_is_configured_else_up() {
    let checked = after("P down enable", CHECKED);
    assert_eq!((checked.state(), checked.admission()), (Checking, Admission::Unprobed));
    assert_eq!(after("P S S S down enable", CHECKED).state(), Checking);
    assert_eq!(after("down enable", PLAIN).state(), Up);
    assert_eq!(after("hard down enable", PLAIN).state(), Up);
}

#[test]
fn a_draining_peer_is_for_bound_requests_only_if_the_other_voices_allow() {
    let table = [
        ("P drain", Admission::Bound),
        ("P gone", Admission::Bound),
        ("P hard drain", Admission::Refused),
        ("P hard drain +11s", Admission::Refused),
        ("P S S S drain", Admission::Refused),
        ("P T T T gone", Admission::Refused),
        ("drain", Admission::Refused),
        ("P drain S S S", Admission::Refused),
        ("P drain hard", Admission::Refused),
    ];
    for (script, admission) in table {
        assert_eq!(after(script, CHECKED).admission(), admission, "{script}");
    }
}

#[test]
fn probes_of_a_draining_or_vanished_peer_go_on() {
    for script in ["P drain", "P gone"] {
        let group = after(script, CHECKED);
        assert_eq!(group.a().probe_pace(group.now), Pace::Interval, "{script}");
    }
    assert_eq!(after("P drain S S S lift", CHECKED).state(), Unhealthy);
}

#[test]
fn a_peer_that_dns_has_again_is_judged_by_the_other_voices() {
    assert_eq!(after("P gone present", CHECKED).state(), Up);
    assert_eq!(after("P hard gone present", CHECKED).state(), Unavail);
    assert_eq!(after("P drain gone present", CHECKED).state(), Draining);
}

#[test]
fn an_override_for_some_time_expires_and_then_the_other_voices_decide() {
    let group = after("P drain=10s +9s tick", CHECKED);
    assert_eq!((group.state(), group.a().wake_at()), (Draining, group.verdict().override_until));
    let group = group.then("+1s tick");
    assert_eq!((group.state(), group.a().wake_at()), (Up, None));
    assert_eq!(group.log().last().map(String::as_str), Some("draining → up: the operator's override expired"));
    assert_eq!(after("P drain=10s S S S +10s tick", CHECKED).state(), Unhealthy);
}

#[test]
fn an_override_expires_by_itself_whatever_signal_comes_first() {
    assert_eq!(after("P drain=10s +10s P", CHECKED).state(), Up);
}

#[test]
fn an_override_wins_over_the_file_until_lifted_expired_or_the_files_value_changes() {
    let table = [
        ("file=down enable", Up),
        ("file=down enable lift", Down),
        ("drain file=enable", Draining),
        ("down file=drain", Draining),
        ("file=down enable file=down", Up),
        ("file=down enable=5s +5s tick", Down),
    ];
    for (script, state) in table {
        assert_eq!(after(script, PLAIN).state(), state, "{script}");
    }
    let log = after("drain file=down", PLAIN).log();
    assert_eq!(log, ["up → draining: set to drain by the operator", "draining → down: set down in the configuration"]);
}

#[test]
fn a_backend_that_drains_itself_gets_bound_requests_until_it_passes_or_is_unhealthy() {
    let group = after("P X", CHECKED);
    assert_eq!((group.state(), group.admission()), (Draining, Admission::Bound));
    assert_eq!(group.reason(), "the application drains itself: it answers 503 and closes its connections");
    assert_eq!(after("P X P", CHECKED).state(), Up);
    // It is shutting down: refused probes must not bring its traffic back before they make it unhealthy.
    assert_eq!(after("P X R R", CHECKED).state(), Draining);
    assert_eq!(after("P X R R R", CHECKED).state(), Unhealthy);
}

#[test]
fn a_peer_that_is_checking_or_unhealthy_takes_draining_itself_as_a_bad_status() {
    assert_eq!(after("X", CHECKED).state(), Checking);
    let group = after("P R R R X", CHECKED);
    assert_eq!((group.state(), group.admission()), (Unhealthy, Admission::SaysNo));
}

#[test]
fn peers_down_draining_or_gone_are_no_members_of_the_tier() {
    let group = Group::of(4, PLAIN).then("a:down b:drain c:gone");
    assert_eq!(group.pool.counts(Tier::Primary).members, 1);
    let group = group.then("a:lift b:lift c:present");
    assert_eq!(group.pool.counts(Tier::Primary).members, 4);
}
