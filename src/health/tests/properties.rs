//! What holds whatever happens, in whatever order.

use std::time::Duration;

use proptest::prelude::*;

use super::script::{CHECKED, Group, PLAIN, plain};
use crate::health::{Admission, Policy, State, Thresholds, Tier};

const PEERS: usize = 4;

/// A script of up to 60 of these words, each about one of the peers.
fn script(words: &'static [&'static str]) -> impl Strategy<Value = Vec<(usize, &'static str)>> {
    prop::collection::vec((0..PEERS, prop::sample::select(words)), 0..60)
}

/// Plays a word, unless it takes a trial that is not on offer, or ends one that nobody has.
fn play(group: Group, peer: usize, word: &str) -> Group {
    let soon = group.now + Duration::from_millis(1);
    let impossible = match word.split('=').next() {
        Some("take") => group.admission_of(peer, soon) != Admission::Trial,
        Some("taken") => group.trials_out(peer) == 0,
        _ => false,
    };
    let letter = char::from(b'a' + u8::try_from(peer).expect("a few peers"));
    if impossible { group } else { group.then(&format!("{letter}:{word}")) }
}

const ANYTHING: &[&str] = &[
    "P",
    "P",
    "S",
    "R",
    "T",
    "L",
    "X",
    "ok",
    "hard",
    "soft",
    "again",
    "quit",
    "last=ok",
    "last=hard",
    "last=soft",
    "take",
    "take",
    "taken=ok",
    "taken=hard",
    "taken=soft",
    "taken=quit",
    "down",
    "drain",
    "enable",
    "drain=5s",
    "lift",
    "file=down",
    "file=enable",
    "gone",
    "present",
    "+1s",
    "+10s",
    "+10s",
    "tick",
];

/// What a tier's counts must be, read off what its peers show.
fn shown_counts(group: &Group) -> (u32, u32) {
    let count = |f: &dyn Fn(State) -> bool| group.states().into_iter().filter(|s| f(*s)).count() as u32;
    (count(&|s| !matches!(s, State::Down | State::Draining)), count(&|s| s == State::Up))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_counts_of_the_pool_are_what_its_peers_show(words in script(ANYTHING), checked: bool) {
        let mut group = Group::of(PEERS, if checked { CHECKED } else { PLAIN });
        for (peer, word) in words {
            group = play(group, peer, word);
            let counts = group.pool.counts(Tier::Primary);
            prop_assert_eq!((counts.members, counts.up), shown_counts(&group), "after {}", word);
            let unavail = group.states().into_iter().filter(|s| *s == State::Unavail).count() as u32;
            prop_assert!(counts.ejected <= unavail);
        }
    }

    #[test]
    fn soft_failures_alone_never_eject_more_than_the_cap(
        words in script(&["soft", "soft", "again", "ok", "take", "taken=ok", "taken=soft", "last=ok", "last=soft", "+1s", "+10s"]),
        max_fails in 1u32..3,
    ) {
        let mut group = Group::of(PEERS, plain(max_fails));
        for (peer, word) in words {
            group = play(group, peer, word);
            let unavail = group.states().into_iter().filter(|s| *s == State::Unavail).count() as u32;
            prop_assert_eq!(group.pool.counts(Tier::Primary).ejected, unavail);
            prop_assert!(unavail <= 2, "{} of 4 are out", unavail);
        }
    }

    #[test]
    fn when_all_have_recovered_nobody_is_counted_as_ejected(words in script(ANYTHING)) {
        let mut group = Group::of(PEERS, CHECKED);
        for (peer, word) in words {
            group = play(group, peer, word);
        }
        for peer in 0..PEERS {
            for word in ["taken=quit", "taken=quit", "enable", "present", "P", "P", "+10s", "last=ok", "tick"] {
                group = play(group, peer, word);
            }
        }
        prop_assert_eq!(group.states(), vec![State::Up; PEERS]);
        let counts = group.pool.counts(Tier::Primary);
        prop_assert_eq!((counts.members, counts.up, counts.ejected), (4, 4, 0));
    }

    #[test]
    fn a_trials_token_is_never_lost(words in script(ANYTHING), checked: bool, end in 0usize..4) {
        let mut group = Group::of(PEERS, if checked { CHECKED } else { PLAIN });
        for (peer, word) in words {
            group = play(group, peer, word);
        }
        let end = ["taken=ok", "taken=hard", "taken=soft", "taken=quit"][end];
        for peer in 0..PEERS {
            while group.trials_out(peer) > 0 {
                group = play(group, peer, end);
            }
            for word in ["enable", "present", "P", "P", "+10s"] {
                group = play(group, peer, word);
            }
            if group.states()[peer] == State::Unavail {
                prop_assert_eq!(group.verdict_of(peer).admission, Admission::Trial);
            }
        }
    }

    #[test]
    fn a_state_changes_at_the_threshold_and_neither_before_nor_after(
        words in prop::collection::vec(prop::sample::select(&["P", "S", "R"][..]), 1..60),
        fails in 1u32..5,
        passes in 1u32..5,
    ) {
        let policy = Policy { check: Some(Thresholds { fails, passes }), ..CHECKED };
        let mut group = Group::of(1, policy).then("P");
        // The run of equal probes at the end, which is all that may matter.
        let (mut run_failed, mut run) = (false, 1u32);
        let mut expected = State::Up;
        for word in words {
            let failed = word != "P";
            run = if failed == run_failed { run + 1 } else { 1 };
            run_failed = failed;
            expected = match expected {
                State::Up if failed && run >= fails => State::Unhealthy,
                State::Unhealthy if !failed && run >= passes => State::Up,
                other => other,
            };
            group = group.then(word);
            prop_assert_eq!(group.state(), expected);
        }
    }

    #[test]
    fn traffic_is_ordinary_if_and_only_if_all_three_voices_allow(words in script(&[
        "P", "P", "S", "R", "hard", "hard", "last=ok", "+10s", "down", "drain", "enable", "gone", "present",
    ])) {
        // The same peer as seen by one who knows only the operator, and by one who does not know the traffic.
        let mut all = Group::of(1, CHECKED);
        let mut operator = Group::of(1, PLAIN);
        let mut probes = Group::of(1, Policy { max_fails: 0, ..CHECKED });
        for (_, word) in words {
            let is_traffic = matches!(word, "hard" | "last=ok");
            let is_probe = matches!(word, "P" | "S" | "R");
            all = all.then(word);
            operator = if is_traffic || is_probe { operator.then("+2ms") } else { operator.then(word) };
            probes = if is_traffic { probes.then("+2ms") } else { probes.then(word) };
            let consent = operator.state() == State::Up && probes.state() == State::Up;
            match all.state() {
                State::Up => prop_assert!(consent),
                // Only the traffic is left to object.
                State::Unavail => prop_assert!(consent),
                other => prop_assert!(!consent && other == probes.state()),
            }
            prop_assert_eq!(all.admission() == Admission::Ordinary, all.state() == State::Up);
        }
    }

    #[test]
    fn what_is_logged_is_a_chain_without_gaps(words in script(ANYTHING)) {
        let mut group = Group::of(1, CHECKED);
        for (_, word) in words {
            group = play(group, 0, word);
        }
        let mut shown = State::Checking;
        for transition in &group.transitions {
            prop_assert_eq!(transition.from, shown);
            prop_assert!(transition.from != transition.to || transition.to == State::Up);
            shown = transition.to;
        }
        prop_assert_eq!(group.state(), shown);
    }
}
