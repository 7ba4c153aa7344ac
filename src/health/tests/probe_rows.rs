//! Rows: the probes' voice.

use super::script::{CHECKED, Group, PLAIN, after};
use crate::health::{Admission, Origin, Pace, State, Tier};
use State::{Checking, Unavail, Unhealthy, Up};

fn pace(group: &Group) -> Pace {
    group.a().probe_pace(group.now)
}

#[test]
fn without_a_check_the_probes_always_allow() {
    let group = after("", PLAIN);
    assert_eq!((group.state(), group.admission(), pace(&group)), (Up, Admission::Ordinary, Pace::None));
    assert_eq!(after("S S S R R R", PLAIN).state(), Up);
    assert_eq!(group.reason(), "nothing speaks against it");
}

#[test]
fn a_new_peer_is_checking_and_probed_every_250_ms_for_30_s() {
    let group = after("", CHECKED);
    assert_eq!((group.state(), group.reason().as_str()), (Checking, "no probe has ended yet"));
    assert_eq!((group.admission(), pace(&group)), (Admission::Unprobed, Pace::Every250ms));
    assert_eq!(pace(&after("R +29s", CHECKED)), Pace::Every250ms);
    assert_eq!(pace(&after("R +30s", CHECKED)), Pace::Interval);
    let mut live = after("P", CHECKED);
    live.join(CHECKED, Tier::Primary, Origin::JoinsLive);
    assert_eq!(live.states().last(), Some(&Checking));
}

#[test]
fn checking_is_up_at_the_first_pass() {
    let group = after("P", CHECKED);
    assert_eq!((group.state(), group.log()), (Up, vec!["checking → up: a probe passed".to_owned()]));
    assert_eq!(after("S R T P", CHECKED).state(), Up);
}

#[test]
fn checking_and_any_failure_stays_checking_with_the_latest_failure_as_its_reason() {
    let group = after("R R R R S", CHECKED);
    assert_eq!((group.state(), group.reason().as_str()), (Checking, "GET /health answered 500"));
    assert_eq!(group.log(), [""; 0]);
    for script in ["S", "R", "T", "X"] {
        assert_eq!(after(script, CHECKED).admission(), Admission::Refused, "never last resort: {script}");
    }
}

#[test]
fn a_bad_status_or_a_refusal_counts_and_fails_in_a_row_make_unhealthy() {
    for (script, state) in [
        ("P S S", Up),
        ("P S S S", Unhealthy),
        ("P R R R", Unhealthy),
        ("P S R S", Unhealthy),
        ("P S S P S", Up),
        ("P S P S S S", Unhealthy),
    ] {
        assert_eq!(after(script, CHECKED).state(), state, "{script}");
    }
}

#[test]
fn unhealthy_is_never_capped() {
    let group = Group::of(2, CHECKED).then("a:P b:P a:S a:S a:S b:S b:S b:S");
    assert_eq!(group.states(), [Unhealthy, Unhealthy]);
}

#[test]
fn live_successes_do_not_matter_to_bad_statuses_and_refusals() {
    assert_eq!(after("P ok S ok S ok S", CHECKED).state(), Unhealthy);
    assert_eq!(after("P ok R ok R ok R", CHECKED).state(), Unhealthy);
}

#[test]
fn a_probe_time_out_counts_only_without_a_live_success_since_the_previous_probe_began() {
    assert_eq!(after("P T T T", CHECKED).state(), Unhealthy);
    assert_eq!(after("P ok T ok T ok T", CHECKED).state(), Up);
    // The success lies between the first two probes: the first time-out does not count, the others do.
    assert_eq!(after("P ok T T T", CHECKED).state(), Up);
    assert_eq!(after("P ok T T T T", CHECKED).state(), Unhealthy);
}

#[test]
fn a_probe_time_out_while_weir_itself_lags_is_no_evidence() {
    assert_eq!(after("P L L L L", CHECKED).state(), Up);
    assert_eq!(after("P T L T L T", CHECKED).state(), Unhealthy);
    let group = after("L", CHECKED);
    assert_eq!((group.state(), group.admission()), (Checking, Admission::Unprobed));
}

#[test]
fn mixed_failures_share_one_counter_and_the_class_is_the_latest_probes() {
    let class = [
        ("P R T S", Admission::SaysNo),
        ("P S S R", Admission::LastResort),
        ("P S S T", Admission::LastResort),
        ("P S S S R", Admission::LastResort),
        ("P R R R S", Admission::SaysNo),
    ];
    for (script, admission) in class {
        let group = after(script, CHECKED);
        assert_eq!((group.state(), group.admission()), (Unhealthy, admission), "{script}");
    }
}

#[test]
fn a_pass_resets_the_failures_and_never_touches_the_traffic_voice() {
    assert_eq!(after("P S S P", CHECKED).verdict().probe_failures, 0);
    assert_eq!(after("P hard P P P P", CHECKED).state(), Unavail);
    let twice = crate::health::Policy { max_fails: 2, ..CHECKED };
    assert_eq!(after("P hard P hard", twice).state(), Unavail);
}

#[test]
fn an_unhealthy_peer_that_passes_is_probed_every_250_ms_and_allowed_after_passes_in_a_row() {
    let group = after("P S S S", CHECKED);
    assert_eq!(pace(&group), Pace::Interval);
    let group = group.then("P");
    assert_eq!((group.state(), pace(&group)), (Unhealthy, Pace::Every250ms));
    let group = group.then("S P");
    assert_eq!((group.state(), group.verdict().probe_passes), (Unhealthy, 1));
    let group = group.then("P");
    assert_eq!((group.state(), pace(&group)), (Up, Pace::Interval));
    assert_eq!(group.log().last().map(String::as_str), Some("unhealthy → up: 2 probes in a row passed"));
}

#[test]
fn a_live_success_ends_unhealthy_only_if_the_class_is_a_time_out() {
    assert_eq!(after("P T T T last=ok", CHECKED).state(), Up);
    assert_eq!(after("P R R T last=ok", CHECKED).state(), Up);
    assert_eq!(after("P R R R last=ok", CHECKED).state(), Unhealthy);
    assert_eq!(after("P S S S last=ok", CHECKED).state(), Unhealthy);
    assert_eq!(after("P T T T R last=ok", CHECKED).state(), Unhealthy);
}

#[test]
fn entering_unhealthy_abandons_waiting_attempts_only_if_the_peer_is_unreachable() {
    for (script, abandons) in [("P R R R", true), ("P T T T", true), ("P S S S", false), ("P R R S", false)] {
        let group = after(script, CHECKED);
        let entered = group.transitions.last().expect("a transition");
        assert_eq!((entered.to, entered.abandons_attempts()), (Unhealthy, abandons), "{script}");
    }
    let up_again = after("P R R R P P", CHECKED).transitions.pop().expect("a transition");
    assert!(!up_again.abandons_attempts());
}

#[test]
fn leaving_unhealthy_clears_the_traffic_window() {
    let twice = crate::health::Policy { max_fails: 2, ..CHECKED };
    assert_eq!(after("P hard hard", twice.clone()).state(), Unavail);
    assert_eq!(after("P hard S S S P P hard", twice).state(), Up);
}

#[test]
fn leaving_unhealthy_while_unavail_leaves_it_unavail() {
    let group = after("P hard S S S P P", CHECKED);
    assert_eq!((group.state(), group.reason().as_str()), (Unavail, "a request failed: connection refused"));
    assert_eq!(group.then("+10s trial=ok").state(), Up);
}

#[test]
fn a_404_is_a_bad_status_and_the_reason_says_that_there_is_no_such_route() {
    let group = after("P N N N", CHECKED);
    assert_eq!((group.state(), group.admission()), (Unhealthy, Admission::SaysNo));
    assert_eq!(group.reason(), "3 of 3 probes failed: GET /health answered 404: the application has no such route");
    assert_eq!(after("N", CHECKED).reason(), "GET /health answered 404: the application has no such route");
}

#[test]
fn the_reason_of_unhealthy_keeps_up_with_the_evidence() {
    assert_eq!(after("P R R R", CHECKED).reason(), "3 of 3 probes failed: connection refused");
    assert_eq!(
        after("P R R R R S", CHECKED).reason(),
        "5 probes in a row failed, the latest: GET /health answered 500"
    );
    // A state change is logged once.
    assert_eq!(after("P R R R R S", CHECKED).log().len(), 2);
}

#[test]
fn when_all_say_no_each_can_be_told_from_those_that_are_silent() {
    let group = Group::of(2, CHECKED).then("a:P b:P a:S a:S a:S b:R b:R b:R");
    assert_eq!(group.admission(), Admission::SaysNo);
    assert_eq!(group.verdict_of(1).admission, Admission::LastResort);
}
