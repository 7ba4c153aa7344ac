//! Does least_time share evenly among equals, and does it find who is fast?

use std::time::Duration;

use super::testing::{Tier, name, run, serve};
use super::{Measure, Method};
use crate::clock::Timestamp;

const LAST_BYTE: Method = Method::LeastTime { measure: Measure::LastByte, inflight: false };

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn five_equal_peers_share_sequential_requests_evenly() {
    for (seed, usual) in (1..=20).flat_map(|seed| [2, 20, 40, 200].map(|usual| (seed, usual))) {
        let mut noise = Noise(seed);
        let mut tier = Tier::weights(&[1; 5]);
        let balancer = tier.build(LAST_BYTE);
        let picks: String = (0..1_500).map(|_| serve(&mut tier, &*balancer, |_| noise.around(usual))).collect();
        assert_even(&picks, seed);
    }
}

#[test]
fn five_equal_peers_share_overlapping_requests_evenly() {
    for (seed, concurrency) in (1..=10).flat_map(|seed| [2, 3, 5, 8, 12, 30].map(|concurrency| (seed, concurrency))) {
        let mut noise = Noise(seed);
        let mut tier = Tier::weights(&[1; 5]);
        let picks = overlap(&mut tier, concurrency, 1_500, |_| noise.around(20));
        assert_even(&picks, seed);
    }
}

#[test]
fn equal_peers_whose_first_answers_were_slow_share_evenly() {
    // As applications that load something at their first request.
    for seed in 1..=20 {
        let mut noise = Noise(seed);
        let mut tier = Tier::weights(&[1; 5]);
        let balancer = tier.build(LAST_BYTE);
        let mut seen = [false; 5];
        let time = |peer: usize| if std::mem::replace(&mut seen[peer], true) { 2 } else { 2 * noise.around(30) };
        let mut time = time;
        let picks: String = (0..1_500).map(|_| serve(&mut tier, &*balancer, &mut time)).collect();
        assert_even(&picks, seed);
    }
}

#[test]
fn a_peer_three_times_slower_gets_little() {
    let mut tier = Tier::weights(&[1; 5]);
    let mut noise = Noise(7);
    let balancer = tier.build(LAST_BYTE);
    let mut time = |peer| if peer == 2 { 3 * noise.around(60) } else { noise.around(60) };
    let picks: String = (0..1_500).map(|_| serve(&mut tier, &*balancer, &mut time)).collect();
    let slow = picks.matches('c').count();
    assert!((2..60).contains(&slow), "{slow} of 1500");
}

const MANY: usize = 500;

/// How many of the requests each of many peers gets, one a millisecond.
fn shares_of_many(requests: usize, mut time: impl FnMut(usize) -> u64) -> Vec<usize> {
    let mut tier = Tier::weights(&[1; MANY]);
    let balancer = tier.build(LAST_BYTE);
    let mut shares = vec![0; MANY];
    for _ in 0..requests {
        let picked = balancer.pick(&tier, &[]).expect("all are eligible");
        shares[picked] += 1;
        let began = tier.now;
        run(&mut tier, &*balancer, picked, &mut time);
        tier.now = began + millis(1);
    }
    shares
}

#[test]
fn many_equal_peers_share_evenly() {
    let mut noise = Noise(3);
    let shares = shares_of_many(40 * MANY, |_| noise.around(8));
    assert!(shares.iter().all(|share| (25..=60).contains(share)), "{shares:?}");
}

#[test]
fn a_few_fast_peers_among_many_are_found_and_used() {
    let mut noise = Noise(5);
    let fast = |peer: usize| peer % 100 == 42;
    let shares = shares_of_many(20 * MANY, |peer| noise.around(if fast(peer) { 10 } else { 200 }));
    let of_fast: usize = shares.iter().enumerate().filter(|(peer, _)| fast(*peer)).map(|(_, share)| share).sum();
    // All but the looks at the others: each got its first request, and is looked at when it was unused for long.
    assert!(of_fast > 12 * MANY, "{of_fast} of {}", 20 * MANY);
    assert!(shares.iter().all(|share| *share > 0), "everybody is tried: {shares:?}");
}

#[test]
fn the_only_eligible_of_many_is_found() {
    let mut tier = Tier::weights(&[1; MANY]);
    let balancer = tier.build(LAST_BYTE);
    tier.peers.iter_mut().for_each(|peer| peer.eligible = false);
    assert_eq!(balancer.pick(&tier, &[]), None);
    tier.peers[321].eligible = true;
    assert_eq!(balancer.pick(&tier, &[]), Some(321));
}

fn assert_even(picks: &str, seed: u64) {
    for peer in 'a'..='e' {
        let share = picks.matches(peer).count();
        assert!((255..=345).contains(&share), "{peer} got {share} of 1500 where 300 were due (seed {seed})");
    }
}

/// So many requests at any time, each followed by the next when it ends.
fn overlap(tier: &mut Tier, concurrency: usize, count: usize, mut time: impl FnMut(usize) -> u64) -> String {
    let balancer = tier.build(LAST_BYTE);
    let mut picks = String::new();
    let mut running = Vec::new();
    while picks.len() < count {
        if running.len() == concurrency {
            let soonest = (0..concurrency).min_by_key(|i| {
                let (end, ..): &(Timestamp, usize, _) = &running[*i];
                *end
            });
            let (end, peer, mut timing) = running.swap_remove(soonest.expect("some are running"));
            tier.now = end;
            tier.peers[peer].in_flight -= 1;
            tier.peers[peer].latency.header(&mut timing, end);
            tier.peers[peer].latency.finished(timing, end);
            tier.tell(&*balancer, peer);
        }
        let peer = balancer.pick(tier, &[]).expect("all are eligible");
        tier.peers[peer].in_flight += 1;
        let timing = tier.peers[peer].latency.picked(tier.now);
        tier.tell(&*balancer, peer);
        running.push((tier.now + millis(time(peer)), peer, timing));
        picks.push(name(Some(peer)));
    }
    picks
}

/// Times between half and one and a half of what is usual.
struct Noise(u64);

impl Noise {
    fn around(&mut self, millis: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        millis / 2 + (self.0 >> 33) % (millis + 1)
    }
}
