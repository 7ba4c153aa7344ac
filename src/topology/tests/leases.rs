//! A lease ends once, whatever happens, and leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use crate::balancer::{Measure, Method};
use crate::clock::Clock;
use crate::config::model::Upstream;
use crate::health::{Outcome, Seen, State};
use crate::topology::{Change, Group, Lease, Tried};

fn lease(group: &Group) -> Lease {
    group.try_lease(&get(&Tried::new()), T0).expect("a peer that is up")
}

#[test]
fn a_slot_is_taken_at_the_pick_and_freed_at_the_end() {
    let (_topology, group) = group(upstream("a"));
    let (first, second) = (lease(&group), lease(&group));
    let a = peer(&group, "a");
    assert_eq!(a.in_flight(), 2);
    first.finish(Outcome::Success, T0);
    assert_eq!(a.in_flight(), 1);
    second.finish(soft(), T0);
    assert_eq!(a.in_flight(), 0);
}

#[test]
fn a_dropped_lease_frees_its_slot_and_blames_nobody() {
    let (_topology, group) = group(upstream("a max_conns=1"));
    let a = peer(&group, "a");
    let before_head = lease(&group);
    drop(before_head);
    let mut after_head = lease(&group);
    after_head.head_received(at(1));
    drop(after_head);
    assert_eq!((a.in_flight(), a.cell.verdict(T0).state, a.cell.verdict(T0).failures), (0, State::Up, 0));
}

#[test]
fn a_dropped_trial_is_given_to_the_next() {
    let now = Clock::process().now();
    let (_topology, group) = group_since(now, upstream("a, b"));
    fail(&group, "a", hard(), now);
    let later = now + std::time::Duration::from_secs(10);
    let trial = group.try_lease(&get(&Tried::new()), later);
    assert_eq!(told(&trial), "a!");
    drop(trial);
    assert_eq!(one(&group, later), "a!");
}

#[test]
fn a_trial_has_succeeded_with_the_head_however_long_the_body() {
    let now = Clock::process().now();
    let (_topology, group) = group_since(now, upstream("a, b"));
    fail(&group, "a", hard(), now);
    let later = now + std::time::Duration::from_secs(10);
    let mut trial = group.try_lease(&get(&Tried::new()), later).expect("a is due");
    let transition = trial.head_received(later).expect("the trial is over");
    assert_eq!((&*transition.peer.text, transition.transition.to), ("a", State::Up));
    assert!(trial.finish(Outcome::Success, later).is_none(), "it is told once");
    assert_eq!(peer(&group, "a").in_flight(), 0);
}

#[test]
fn what_a_use_taught_is_known_before_its_slot_is_free() {
    let (_topology, group) = group(upstream("a max_conns=1, b"));
    let transition = lease(&group).finish(hard(), T0).expect("max_fails is 1");
    assert_eq!((&*transition.peer.text, transition.transition.to), ("a", State::Unavail));
    assert_eq!(several(&group, 2, T0), "b b");
}

#[test]
fn who_was_outrun_is_not_blamed_and_its_time_is_known() {
    let (_topology, group) = group(upstream("a"));
    let a = peer(&group, "a");
    a.latency.count_heads();
    assert!(lease(&group).outrun(at(3)).is_none());
    assert_eq!((a.in_flight(), a.cell.verdict(T0).state, a.cell.verdict(T0).failures), (0, State::Up, 0));
    assert_eq!(a.latency.average(Measure::Header), None, "no answer, no average");
    let heads = a.latency.heads().expect("they are counted");
    assert_eq!((heads.total(), heads.quantile(50) >= Some(at(3).since(T0))), (1, true));
    group.state.set_waits(heads);
    assert!(group.state.usual_wait(95) >= Some(at(3).since(T0)));
}

#[test]
fn an_outrun_trial_is_given_to_the_next() {
    let now = Clock::process().now();
    let (_topology, group) = group_since(now, upstream("a, b"));
    fail(&group, "a", hard(), now);
    let later = now + std::time::Duration::from_secs(10);
    let trial = group.try_lease(&get(&Tried::new()), later).expect("a is due");
    assert!(trial.is_trial());
    assert!(trial.outrun(later).is_none());
    assert_eq!(one(&group, later), "a!");
}

#[test]
fn times_are_measured_from_the_pick() {
    let (_topology, group) = group(upstream("a"));
    let mut one = lease(&group);
    one.head_received(at(1));
    one.head_received(at(2));
    one.finish(Outcome::Success, at(3));
    let latency = &peer(&group, "a").latency;
    let seconds = [Measure::Header, Measure::LastByte].map(|measure| latency.average(measure).map(|t| t.as_secs()));
    assert_eq!(seconds, [Some(1), Some(3)]);
}

#[test]
fn least_time_is_told_of_requests_that_wait() {
    let method = Method::LeastTime { measure: Measure::Header, inflight: true };
    let (_topology, group) = group(Upstream { method, ..upstream("a weight=4, b") });
    for name in ["a", "b"] {
        let latency = &peer(&group, name).latency;
        let mut timing = latency.picked(T0);
        latency.header(&mut timing, at(1));
        latency.finished(timing, at(1));
    }
    let waits = group.try_lease(&get(&Tried::new()), at(2)).expect("both are up");
    assert_eq!(&*waits.peer().text, "a");
    assert_eq!(several(&group, 2, at(2)), "a a", "two at once with four times the weight");
    assert_eq!(several(&group, 2, at(8)), "b b", "nothing has come of it for 6 s");
}

#[test]
fn least_time_hears_of_requests_that_begin_and_end_and_of_heads_if_it_goes_by_them() {
    // Within less than a second, so that nobody is asked meanwhile.
    let later = T0 + Duration::from_millis(400);
    for (measure, after_the_head) in [(Measure::Header, "b"), (Measure::LastByte, "a")] {
        let method = Method::LeastTime { measure, inflight: false };
        let (_topology, group) = group(Upstream { method, ..upstream("a, b") });
        let mut first = lease(&group);
        let second = lease(&group);
        assert_eq!([&*first.peer().text, &*second.peer().text], ["a", "b"], "a is busy");
        first.head_received(later);
        assert_eq!(one(&group, later), after_the_head);
        first.finish(Outcome::Success, later);
        assert_eq!(one(&group, later), "b", "a is idle, and ten times slower");
        drop(second);
    }
}

#[test]
fn least_time_does_not_ask_who_is_full_until_there_is_room() {
    let method = Method::LeastTime { measure: Measure::LastByte, inflight: false };
    let (_topology, group) = group(Upstream { method, ..upstream("a max_conns=1, b max_conns=2") });
    let leases = [lease(&group), lease(&group), lease(&group)];
    assert_eq!(one(&group, T0), "Full");
    let [first, ..] = leases;
    first.finish(Outcome::Success, T0);
    assert_eq!(one(&group, T0), "a");
}

#[test]
fn a_client_that_gives_up_late_blames_the_peer_and_a_quick_one_does_not() {
    // usual time to the head in s, head seen, waited in s; whether the peer is blamed
    let table = [
        (None, false, 1, false),
        (None, false, 2, true),
        (None, true, 60, false),
        (Some(1), false, 10, false),
        (Some(1), false, 11, true),
    ];
    for (usual, head, waited, blamed) in table {
        let (_topology, group) = group(upstream("a, b down"));
        if let Some(usual) = usual {
            let mut earlier = lease(&group);
            earlier.head_received(at(usual));
            earlier.finish(Outcome::Success, at(usual));
        }
        let mut lease = lease(&group);
        if head {
            lease.head_received(T0);
        }
        let transition = lease.client_left(at(waited));
        assert_eq!(transition.is_some(), blamed, "{usual:?} {head} {waited}");
    }
}

#[test]
fn the_tally_counts_attempts_failures_and_probes() {
    let (_topology, group) = group(Upstream { health_check: Some(check()), ..upstream("a") });
    let a = peer(&group, "a");
    a.observe_probe(T0, Seen::Pass, false, T0);
    several(&group, 3, T0);
    fail(&group, "a", hard(), T0);
    a.observe_probe(T0, Seen::Unreachable { detail: "refused".into() }, false, at(1));
    [200, 204, 301, 404, 599, 99, 700, 0].into_iter().for_each(|status| a.tally.response(status));
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let tally = &a.tally;
    let counted = [&tally.requests, &tally.fails, &tally.unavail, &tally.checks, &tally.check_fails, &tally.unhealthy];
    assert_eq!(counted.map(load), [4, 1, 1, 2, 1, 1]);
    assert_eq!(tally.responses.each_ref().map(load), [0, 2, 1, 1, 1]);
    assert_eq!(a.last_attempt(), Some(T0));
}

#[test]
fn first_attempts_feed_the_retry_budget_and_retries_do_not() {
    let budget = crate::config::model::RetryBudget { percent: 50, min_per_second: 0 };
    let (_topology, group) = group(Upstream { retry_budget: budget, ..upstream("a, b") });
    several(&group, 4, T0);
    let mut tried = Tried::new();
    lease(&group).give_up(Outcome::Neutral, &mut tried, T0);
    drop(group.try_lease(&get(&tried), T0));
    let granted = (0..9).filter(|_| group.try_retry(T0)).count();
    assert_eq!(granted, 2, "half of five");
}

#[test]
fn threads_never_hold_more_than_max_conns_together_and_leave_none_behind() {
    let (_topology, group) = group(upstream("a max_conns=3, b max_conns=2"));
    let most = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let tried = Tried::new();
                    let leases: Vec<_> = (0..2).map(|_| group.try_lease(&get(&tried), T0)).collect();
                    for lease in leases.into_iter().flatten() {
                        most.fetch_max(lease.peer().in_flight(), std::sync::atomic::Ordering::Relaxed);
                        lease.finish(Outcome::Success, T0);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(["a", "b"].map(|letter| peer(&group, letter).in_flight()), [0, 0]);
}

/// What may happen next in a random story.
#[derive(Clone, Debug)]
enum Event {
    Request {
        repeatable: bool,
        key: u8,
    },
    /// The n-th lease that is out (modulo their number) ends.
    End(usize, End),
    Seconds(u64),
    Probe(usize, bool),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Success,
    Hard,
    Soft,
    Neutral,
    Drop,
    HeadThenDrop,
    ClientLeft,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use End::*;
    let end = prop::sample::select(vec![Success, Hard, Soft, Neutral, Drop, HeadThenDrop, ClientLeft]);
    let event = prop_oneof![
        4 => (any::<bool>(), any::<u8>()).prop_map(|(repeatable, key)| Event::Request { repeatable, key }),
        4 => (0usize..8, end).prop_map(|(at, end)| Event::End(at, end)),
        1 => (0u64..12).prop_map(Event::Seconds),
        1 => (0usize..4, any::<bool>()).prop_map(|(at, pass)| Event::Probe(at, pass)),
    ];
    prop::collection::vec(event, 0..120)
}

fn methods() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::RoundRobin,
        Method::LeastConn,
        Method::Hash { consistent: true },
        Method::Hash { consistent: false },
        Method::LeastTime { measure: Measure::Header, inflight: true },
        Method::Random { two: None },
    ])
}

proptest! {
    #[test]
    fn whatever_happens_slots_and_trials_return(story in events(), method in methods(), checks in any::<bool>()) {
        let servers = "a max_conns=1, b max_fails=2, c max_conns=2 slow_start=5, d backup";
        let health_check = checks.then(check);
        let mut now = Clock::process().now();
        let (_topology, group) = group_since(now, Upstream { method, health_check, ..upstream(servers) });
        let letters = ["a", "b", "c", "d"];
        let limits = [1, u32::MAX, 2, u32::MAX];
        let mut out: Vec<Lease> = Vec::new();
        for event in story {
            match event {
                Event::Request { repeatable, key } => {
                    let tried = Tried::new();
                    let ask = crate::topology::Ask { key: &[key], repeatable, tried: &tried, bound: None };
                    let lease = group.try_lease(&ask, now).ok();
                    prop_assert!(lease.as_ref().is_none_or(|lease| repeatable || !lease.is_trial()));
                    out.extend(lease);
                }
                Event::End(at, end) if !out.is_empty() => {
                    let mut lease = out.swap_remove(at % out.len());
                    match end {
                        End::Success => _ = lease.finish(Outcome::Success, now),
                        End::Hard => _ = lease.finish(hard(), now),
                        End::Soft => _ = lease.give_up(soft(), &mut Tried::new(), now),
                        End::Neutral => _ = lease.finish(Outcome::Neutral, now),
                        End::Drop => drop(lease),
                        End::HeadThenDrop => drop(lease.head_received(now)),
                        End::ClientLeft => _ = lease.client_left(now),
                    }
                }
                Event::End(..) => {}
                Event::Seconds(seconds) => now = now + std::time::Duration::from_secs(seconds),
                Event::Probe(at, pass) if checks => {
                    let seen = if pass { Seen::Pass } else { Seen::Unreachable { detail: "refused".into() } };
                    peer(&group, letters[at]).observe_probe(now, seen, false, now);
                }
                Event::Probe(..) => {}
            }
            for (letter, limit) in letters.iter().zip(limits) {
                let held = out.iter().filter(|lease| &*lease.peer().text == *letter).count() as u32;
                prop_assert_eq!(peer(&group, letter).in_flight(), held);
                prop_assert!(held <= limit);
                let verdict = peer(&group, letter).cell.verdict(now);
                // A trial that a change of state has overtaken decides nothing, and is no obstacle to the next.
                let is_trial = |lease: &&Lease| {
                    &*lease.peer().text == *letter && lease.is_trial() && lease.began() > verdict.since
                };
                let trials = out.iter().filter(is_trial).count();
                prop_assert!(trials <= 1 || verdict.state != State::Unavail, "{} trials of {}", trials, letter);
            }
        }
        out.drain(..).for_each(|lease| _ = lease.finish(Outcome::Neutral, now));
        for letter in letters {
            prop_assert_eq!(peer(&group, letter).in_flight(), 0);
            prop_assert!(!peer(&group, letter).cell.verdict(now).trial_out);
        }
    }
}

/// Many peers of one text.
fn many(count: usize) -> Upstream {
    Upstream { method: Method::LeastConn, ..upstream(&vec!["a"; count].join(",")) }
}

fn loads(group: &Group) -> Vec<u32> {
    group.seats().map(|seat| seat.peer.in_flight()).collect()
}

#[test]
fn of_many_peers_the_one_whose_lease_ended_is_next() {
    let (_topology, group) = group(many(300));
    let mut leases: Vec<Lease> = (0..600).map(|_| lease(&group)).collect();
    assert_eq!(loads(&group), [2; 300]);
    for place in [599, 17, 250] {
        let ended = leases.remove(place);
        let free = ended.peer().id;
        ended.finish(Outcome::Success, T0);
        leases.push(lease(&group));
        assert_eq!(leases.last().map(|lease| lease.peer().id), Some(free));
    }
    drop(leases);
    assert_eq!(loads(&group), [0; 300]);
}

#[test]
fn a_lease_of_an_old_snapshot_counts_in_the_index_of_the_new_one() {
    let (topology, old) = group(many(300));
    let mut leases: Vec<Lease> = (0..300).map(|_| lease(&old)).collect();
    let (next, applied) = topology.apply(Change::Config(Arc::new(config(vec![many(301)]))), T0);
    next.prepare(&applied, T0);
    let new = next.groups()[0].clone();
    leases.push(lease(&new));
    assert_eq!(loads(&new), [1; 301], "the newcomer is the least busy");
    let ended = leases.remove(200);
    let free = ended.peer().id;
    ended.finish(Outcome::Success, T0);
    assert_eq!(lease(&new).peer().id, free);
}
