//! Rows: peers compared with each other.

use std::time::Duration;

use super::script::{CHECKED, Group, PLAIN, after, plain};
use crate::clock::Timestamp;
use crate::health::State::{self, Draining, Unavail, Up};
use crate::health::outlier::Finding;
use crate::health::{Admission, Policy, Signal};

#[test]
fn an_outlier_is_ejected_with_its_evidence() {
    let group = after("slow", PLAIN);
    assert_eq!((group.state(), group.admission()), (Unavail, Admission::LastResort));
    assert_eq!(
        group.log(),
        ["up → unavail: an outlier: answers took 350ms, where 20ms is the median of its peers; left alone for 10s"]
    );
}

#[test]
fn an_outlier_comes_back_by_a_trial() {
    assert_eq!(after("slow +10s trial=ok", PLAIN).state(), Up);
    assert_eq!(after("slow +10s trial=hard", PLAIN).state(), Unavail);
    assert_eq!(after("slow last=ok", PLAIN).state(), Up);
    // With a check, its latest probe must have passed.
    assert_eq!(after("P slow R +10s", CHECKED).admission(), Admission::LastResort);
    assert_eq!(after("P slow +10s", CHECKED).admission(), Admission::Trial);
}

#[test]
fn each_time_it_is_left_alone_for_longer() {
    let due = |script: &str| {
        let group = after(script, PLAIN);
        group.verdict().trial_due.map(|at| at.since(group.verdict().since))
    };
    assert_eq!(due("slow"), Some(Duration::from_secs(10)));
    assert_eq!(due("slow +10s trial=ok slow"), Some(Duration::from_secs(20)));
    assert_eq!(due("slow +10s trial=ok slow +20s trial=ok slow"), Some(Duration::from_secs(30)));
    let often = "slow +300s trial=ok ".repeat(40) + "slow";
    assert_eq!(due(&often), Some(Duration::from_secs(300)), "as in Envoy, not for longer");
    // Each interval in which it does as its peers do takes one back.
    assert_eq!(due("slow +10s trial=ok like like slow"), Some(Duration::from_secs(10)));
    assert_eq!(due("slow +10s trial=ok slow +20s trial=ok like slow"), Some(Duration::from_secs(20)));
    // Down and up again is a new beginning.
    assert_eq!(due("slow +10s trial=ok down enable slow"), Some(Duration::from_secs(10)));
}

#[test]
fn the_cap_keeps_outliers_as_it_keeps_others() {
    let group = Group::of(4, PLAIN).then("a:slow b:slow c:slow");
    assert_eq!(group.states(), [Unavail, Unavail, Up, Up]);
    assert!(group.verdict_of(2).kept);
    let group = group.then("c:slow +9s c:tick");
    assert!(group.verdict_of(2).kept);
    assert_eq!(group.transitions.len(), 3, "kept is told once: {:?}", group.log());
    assert!(!group.then("+1s c:tick").verdict_of(2).kept);
    // An only peer never goes.
    assert_eq!(Group::of(1, PLAIN).then("slow").state(), Up);
}

#[test]
fn whoever_was_kept_is_not_left_alone_for_longer_later() {
    let group = Group::of(2, PLAIN).then("b:slow a:slow +10s a:tick b:trial=ok a:slow");
    assert!(group.reason().ends_with("left alone for 10s"), "{}", group.reason());
}

#[test]
fn max_fails_0_does_not_keep_outliers_in_and_fail_timeout_0_does() {
    assert_eq!(after("slow", plain(0)).state(), Unavail);
    assert_eq!(after("slow +10s trial=hard", plain(0)).state(), Unavail);
    let never = Policy { fail_timeout: Duration::ZERO, ..PLAIN };
    assert_eq!(after("slow", never).state(), Up);
}

#[test]
fn an_interval_in_which_the_state_changed_says_nothing() {
    let mut group = after("hard +10s trial=ok", PLAIN);
    let found = Some(Finding::Fails { failures: 9, requests: 9, usual: 0 });
    group.observe(0, Signal::Compared { from: Timestamp::secs(1), found });
    assert_eq!(group.state(), Up);
    let from = group.now;
    group.observe(0, Signal::Compared { from, found });
    assert_eq!(group.state(), Unavail);
}

#[test]
fn only_a_peer_that_is_up_is_compared() {
    let states: [(&str, State); 3] =
        [("drain slow", Draining), ("drain slow lift", Up), ("hard slow +10s trial=ok", Up)];
    for (script, state) in states {
        assert_eq!(after(script, PLAIN).state(), state, "{script}");
    }
}
