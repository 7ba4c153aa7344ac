//! Rows: the traffic's voice, the cap, trials, last resort.

use super::script::{CHECKED, Group, PLAIN, after, plain};
use crate::clock::Timestamp;
use crate::health::{Admission, Pace, Policy, Seen, Signal, State, Tier};
use State::{Checking, Unavail, Unhealthy, Up};

#[test]
fn max_fails_within_the_last_fail_timeout_make_unavail() {
    let table = [
        (1, "hard", Unavail),
        (1, "soft", Unavail),
        (3, "hard hard", Up),
        (3, "hard soft hard", Unavail),
        (3, "hard +5s hard +5s hard", Up),
        (3, "hard +5s hard +5s hard +4s hard", Unavail),
        (3, "hard +9s ok hard +9s ok hard", Up),
    ];
    for (max_fails, script, state) in table {
        assert_eq!(after(script, plain(max_fails)).state(), state, "max_fails={max_fails}: {script}");
    }
}

#[test]
fn max_fails_0_or_fail_timeout_0_disable_counting() {
    assert_eq!(after("hard hard hard soft soft", plain(0)).state(), Up);
    let never = Policy { fail_timeout: std::time::Duration::ZERO, ..PLAIN };
    assert_eq!(after("hard hard hard soft soft", never).state(), Up);
}

#[test]
fn unavail_lasts_fail_timeout_from_the_last_failure() {
    let group = after("hard", PLAIN);
    let failed = group.now;
    assert_eq!(group.verdict().trial_due, Some(failed + PLAIN.fail_timeout));
    let group = group.then("+3s last=hard");
    assert_eq!(group.verdict().trial_due, Some(group.now + PLAIN.fail_timeout));
    assert_eq!(group.a().next_change(group.now), group.verdict().trial_due);
}

#[test]
fn of_one_request_only_the_first_soft_failure_counts() {
    let group = Group::of(10, PLAIN).then("a:soft b:again c:again d:again");
    assert_eq!(group.states()[..4], [Unavail, Up, Up, Up]);
    // A hard failure is the peer's own, whatever the request met before.
    assert_eq!(after("again again", PLAIN).verdict().failures, 0);
}

#[test]
fn neutral_outcomes_count_for_nothing() {
    let group = after("quit quit quit", PLAIN);
    assert_eq!((group.state(), group.verdict().failures), (Up, 0));
}

#[test]
fn a_success_while_up_has_no_effect_on_the_window() {
    assert_eq!(after("hard ok ok ok hard", plain(2)).state(), Unavail);
}

#[test]
fn outcomes_of_leases_begun_before_the_last_transition_move_nothing() {
    // The peer failed, was tried and is back; an attempt from before now fails as well.
    assert_eq!(after("hold hard +10s trial=ok held=hard", PLAIN).state(), Up);
    assert_eq!(after("hold hard +10s trial=ok held=hard hard", plain(1)).state(), Unavail);
    // Nor does it lengthen the time for which the peer is left alone, or end it.
    let group = after("hold hard +5s", PLAIN);
    let due = group.verdict().trial_due;
    let group = group.then("held=hard");
    assert_eq!(group.verdict().trial_due, due);
    assert_eq!(after("hold hard +5s held=ok", PLAIN).state(), Unavail);
    assert_eq!(after("P hold T T T held=ok", CHECKED).state(), Unhealthy);
}

#[test]
fn soft_failures_alone_eject_at_most_half_of_a_tier() {
    let group = Group::of(4, PLAIN).then("a:soft b:soft c:soft d:soft");
    assert_eq!(group.states(), [Unavail, Unavail, Up, Up]);
    assert_eq!(Group::of(1, PLAIN).then("soft").state(), Up);
}

#[test]
fn a_peer_beyond_the_cap_is_kept_and_says_so_once() {
    let group = Group::of(2, PLAIN).then("b:soft a:soft a:soft a:soft");
    let verdict = group.verdict();
    assert_eq!((verdict.state, verdict.kept, verdict.admission), (Up, true, Admission::Ordinary));
    assert_eq!(
        group.log(),
        [
            "up → unavail: a request failed: closed before the head",
            "up → up: kept: at most 50% of the tier may be ejected; the latest failure: closed before the head",
        ]
    );
}

#[test]
fn kept_ends_when_the_failures_have_left_the_window() {
    let group = Group::of(2, PLAIN).then("b:soft a:soft");
    let over = group.a().wake_at().expect("a kept peer waits for time");
    assert_eq!(over, group.now + PLAIN.fail_timeout);
    let group = group.then("+9s tick");
    assert!(group.verdict().kept);
    let group = group.then("+1s tick");
    assert_eq!((group.verdict().kept, group.a().wake_at()), (false, None));
    assert_eq!(group.log().last().map(String::as_str), Some("up → up: no longer kept: its failures are past"));
}

#[test]
fn a_kept_peer_goes_with_its_next_failure_if_there_is_room_again() {
    let group = Group::of(2, plain(2)).then("b:soft b:soft a:soft a:soft");
    assert!(group.verdict().kept);
    let group = group.then("b:last=ok a:soft");
    assert_eq!(group.states(), [Unavail, Up]);
}

#[test]
fn a_hard_failure_is_not_capped() {
    assert_eq!(Group::of(2, PLAIN).then("a:hard b:hard").states(), [Unavail, Unavail]);
    assert_eq!(Group::of(2, PLAIN).then("a:soft b:soft b:hard").states(), [Unavail, Unavail]);
    assert_eq!(Group::of(1, PLAIN).then("hard").state(), Unavail);
}

#[test]
fn hard_ejections_do_not_use_up_the_cap_of_the_soft_ones() {
    assert_eq!(Group::of(4, PLAIN).then("a:hard b:hard c:soft d:soft").states(), [Unavail; 4]);
}

#[test]
fn a_soft_ejection_whose_trial_fails_hard_no_longer_uses_up_the_cap() {
    let group = Group::of(2, PLAIN).then("a:soft +10s trial=hard b:soft");
    assert_eq!(group.states(), [Unavail, Unavail]);
}

#[test]
fn the_cap_counts_peers_that_are_neither_down_nor_draining_nor_gone() {
    let group = Group::of(4, PLAIN).then("c:down d:gone a:soft b:soft");
    assert_eq!(group.states()[..2], [Unavail, Up]);
    // One that drains after it was ejected uses up nothing: of the other three, one may go.
    assert_eq!(Group::of(4, PLAIN).then("a:soft a:drain b:soft c:soft").states()[1..3], [Unavail, Up]);
}

#[test]
fn the_cap_is_off_while_a_backup_is_up() {
    let group = Group::of(2, PLAIN).with_backup(PLAIN);
    assert_eq!(group.then("a:soft b:soft").states(), [Unavail, Unavail, Up]);
    let group = Group::of(2, PLAIN).with_backup(PLAIN).then("c:down");
    assert_eq!(group.then("a:soft b:soft").states()[..2], [Unavail, Up]);
}

/// Both peers are silent to probes; requests of last resort fail softly at both; then, after a while, probes pass.
fn back_after(pause: &str, policy: Policy) -> Group {
    let both = |word: &str| ["a", "b"].map(|peer| format!("{peer}:{word}")).join(" ");
    let script = ["P", "T", "T", "T", "last=soft"].map(both).join(" ");
    Group::of(2, policy).then(&script).then(pause).then("a:P b:P a:P b:P")
}

#[test]
fn a_soft_ejection_met_while_unhealthy_asks_the_cap_when_it_begins_to_show() {
    let group = back_after("", CHECKED);
    assert_eq!((group.states(), group.verdict_of(1).kept), (vec![Unavail, Up], true));
    // Its failures have left the window by then: there is nothing to be kept for.
    let group = back_after("+10s", CHECKED);
    assert_eq!((group.states(), group.verdict_of(1).kept), (vec![Unavail, Up], false));
}

#[test]
fn a_peer_that_comes_back_only_to_be_kept_does_not_ramp() {
    let ramp = Policy { slow_start: std::time::Duration::from_secs(10), ..CHECKED };
    assert_eq!(back_after("", ramp.clone()).verdict_of(1).ramp, crate::share::FULL);
    assert_eq!(back_after("+10s", ramp).verdict_of(1).ramp, 1);
}

#[test]
fn after_fail_timeout_there_is_one_trial_at_a_time() {
    let group = after("hard", PLAIN);
    assert_eq!((group.admission(), group.a().take_trial(group.now)), (Admission::LastResort, false));
    let group = group.then("+10s");
    assert_eq!(group.admission(), Admission::Trial);
    let group = group.then("take");
    assert_eq!((group.admission(), group.a().take_trial(group.now)), (Admission::LastResort, false));
    assert!(group.verdict().trial_out);
    assert_eq!(group.a().next_change(group.now), Some(group.now));
}

#[test]
fn with_a_check_a_trial_takes_a_last_probe_that_passed() {
    assert_eq!(after("P hard +10s", CHECKED).admission(), Admission::Trial);
    assert_eq!(after("P hard R +10s", CHECKED).admission(), Admission::LastResort);
    assert_eq!(after("P hard R +10s", CHECKED).a().next_change(Timestamp::secs(99)), None);
    assert_eq!(after("P hard R +10s P", CHECKED).admission(), Admission::Trial);
}

#[test]
fn a_trial_that_succeeds_is_up() {
    let group = after("hard +10s trial=ok", PLAIN);
    assert_eq!((group.state(), group.verdict().failures), (Up, 0));
    assert_eq!(group.log().last().map(String::as_str), Some("unavail → up: a trial request succeeded"));
}

#[test]
fn a_trial_that_fails_is_another_fail_timeout() {
    for failure in ["trial=hard", "trial=soft"] {
        let group = after("hard +10s", PLAIN).then(failure);
        assert_eq!((group.state(), group.log().len()), (Unavail, 1), "{failure}");
        assert_eq!(group.verdict().trial_due, Some(group.now + PLAIN.fail_timeout), "{failure}");
        assert!(group.reason().starts_with("another try failed as well: "), "{}", group.reason());
    }
}

#[test]
fn a_trial_that_says_nothing_returns_the_token() {
    for nothing in ["trial=quit", "trial=again"] {
        let group = after("hard +10s", PLAIN).then(nothing);
        assert_eq!((group.state(), group.admission()), (Unavail, Admission::Trial), "{nothing}");
    }
}

#[test]
fn a_trial_that_is_out_while_the_peer_drains_still_returns_the_token() {
    let group = after("hard +10s take drain taken=ok lift", PLAIN);
    assert_eq!((group.state(), group.admission()), (Unavail, Admission::Trial));
    let group = after("hard +10s take drain lift", PLAIN);
    assert_eq!(group.admission(), Admission::LastResort);
    assert_eq!(group.then("taken=quit").admission(), Admission::Trial);
}

#[test]
fn a_trial_of_an_earlier_ejection_neither_blocks_nor_frees_the_trial_of_a_later_one() {
    let group = after("hard +10s take last=ok hard +10s", PLAIN);
    assert_eq!(group.admission(), Admission::Trial);
    assert!(group.a().take_trial(group.now));
    assert_eq!(group.then("taken=ok").admission(), Admission::LastResort);
}

#[test]
fn a_pass_alone_never_ends_unavail() {
    assert_eq!(after("P hard +60s P P P P P", CHECKED).state(), Unavail);
}

#[test]
fn last_resort_is_for_unavail_and_for_unhealthy_because_unreachable() {
    let table = [
        ("P hard", Admission::LastResort),
        ("P R R R", Admission::LastResort),
        ("P T T T", Admission::LastResort),
        ("P hard R R R", Admission::LastResort),
        ("P S S S", Admission::SaysNo),
        ("P hard S S S", Admission::SaysNo),
        ("P hard down", Admission::Refused),
        ("P hard drain", Admission::Refused),
        ("P hard gone", Admission::Refused),
        ("R", Admission::Refused),
    ];
    for (script, admission) in table {
        assert_eq!(after(script, CHECKED).admission(), admission, "{script}");
    }
}

#[test]
fn a_success_of_last_resort_ends_unavail_as_a_trial_does() {
    let group = after("hard +1s last=ok", PLAIN);
    assert_eq!((group.state(), group.verdict().failures), (Up, 0));
    assert_eq!(group.reason(), "a request of last resort succeeded");
    assert_eq!(after("P hard T T T last=ok", CHECKED).state(), Up);
    assert_eq!(after("P hard R R R last=ok", CHECKED).then("P P").state(), Up);
}

#[test]
fn failures_while_checking_count_for_nothing() {
    let group = after("hard soft hard", CHECKED);
    assert_eq!((group.state(), group.verdict().failures), (Checking, 0));
}

#[test]
fn a_peer_that_leaves_takes_its_count_along() {
    let mut group = Group::of(4, PLAIN).then("a:soft");
    group.forget(0);
    let counts = group.pool.counts(Tier::Primary);
    assert_eq!((counts.members, counts.up, counts.ejected), (3, 3, 0));
}

/// An address that a name gave.
const MOVABLE: Policy = Policy { movable: true, ..PLAIN };

#[test]
fn after_a_hard_failure_an_address_that_may_have_moved_is_checking_until_a_pass() {
    let doubted = after("hard", MOVABLE);
    assert_eq!((doubted.state(), doubted.admission()), (State::Checking, Admission::Unprobed));
    let reason = doubted.reason();
    assert!(reason.starts_with("connection refused") && reason.contains("may be another's by now"), "{reason}");
    assert_eq!(doubted.a().probe_pace(doubted.now), Pace::Every250ms, "though no check is configured");
    for (script, policy, state, admission) in [
        ("hard R", MOVABLE, State::Checking, Admission::Refused),
        // The traffic's own voice still holds.
        ("hard P", MOVABLE, State::Unavail, Admission::LastResort),
        ("hard P", Policy { max_fails: 0, ..MOVABLE }, State::Up, Admission::Ordinary),
        ("hard R R R R P", Policy { max_fails: 0, ..MOVABLE }, State::Up, Admission::Ordinary),
        ("soft", Policy { max_fails: 0, ..MOVABLE }, State::Up, Admission::Ordinary),
        ("P hard", Policy { max_fails: 0, movable: true, ..CHECKED }, State::Checking, Admission::Unprobed),
        ("P hard P", Policy { max_fails: 0, movable: true, ..CHECKED }, State::Up, Admission::Ordinary),
        ("P R R R hard P", Policy { max_fails: 0, movable: true, ..CHECKED }, State::Unhealthy, Admission::LastResort),
        ("hard", PLAIN, State::Unavail, Admission::LastResort),
    ] {
        let group = after(script, policy);
        assert_eq!((group.state(), group.admission()), (state, admission), "{script}");
    }
    let settled = after("hard P", Policy { max_fails: 0, ..MOVABLE });
    assert_eq!(settled.a().probe_pace(settled.now), Pace::None, "without a check nobody looks any further");
}

#[test]
fn a_probe_that_began_before_the_failure_says_nothing_of_what_is_there_now() {
    let mut group = after("P", Policy { max_fails: 0, movable: true, ..CHECKED });
    let began = group.now;
    group = group.then("hard");
    group.observe(0, Signal::Probe { began, seen: Seen::Pass, lagged: false });
    assert_eq!(group.state(), State::Checking);
    assert_eq!(group.then("P").state(), State::Up);
}
