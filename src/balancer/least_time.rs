//! Who will answer soonest? (nginx: `ngx_http_upstream_least_time_module.c`)

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::alone::Alone;
use super::latency::{Expectation, bucket};
use super::least_conn::{Load, least};
use super::sample::{self, Sample};
use super::smooth::{Smooth, scaled};
use super::{Balancer, COMPARE_ALL, Candidates, Measure, Member};
use crate::clock::Timestamp;

/// The lowest expected time per weight, where the expected time is the average, in steps of 20 ms, times the requests
/// the peer would then have. Those that are level take turns.
///
/// Three things are weir's own, so that nobody starves by bad luck: peers that are nearly as fast as the fastest count
/// as equally fast (else 19 ms get everything and 20 ms nothing); a peer that was not used for `fail_timeout` gets one
/// request; so does, after a while of being passed over, one that seems a little slower. The answer to such a request
/// counts three quarters in the average, for what was known is old.
///
/// Up to [`COMPARE_ALL`] peers it is the best of all of them. Above, it is the best of a [`Sample`]: the next 24 of a
/// shuffled order, so that everybody is looked at in each round, and the 8 fastest that were met; those that are level
/// go by how long ago they were picked.
#[derive(Debug)]
pub(super) struct LeastTime {
    measure: Measure,
    inflight: bool,
    members: Box<[Seen]>,
    picks: Alone<AtomicU64>,
    /// When the first was, in µs.
    first_pick: AtomicU64,
    turns: Smooth,
    /// Only for very many.
    sample: Option<Sample>,
}

/// How fast a peer seems to a pick.
#[derive(Clone, Copy, Debug, Default)]
struct Seeming {
    peer: usize,
    expected: Expectation,
}

/// What is remembered of a peer between picks.
#[derive(Debug)]
struct Seen {
    weight: u32,
    fail_timeout: Duration,
    /// The number of the pick that chose it last.
    last_pick: AtomicU64,
    /// When it last got a request for not having had any, in µs.
    last_look: AtomicU64,
}

impl LeastTime {
    pub(super) fn new(members: &[Member<'_>], measure: Measure, inflight: bool) -> LeastTime {
        let seen = |member: &Member<'_>| Seen {
            weight: member.weight,
            fail_timeout: member.fail_timeout,
            last_pick: AtomicU64::new(0),
            last_look: AtomicU64::new(0),
        };
        LeastTime {
            measure,
            inflight,
            members: members.iter().map(seen).collect(),
            picks: Alone::default(),
            first_pick: AtomicU64::new(u64::MAX),
            turns: Smooth::new(members.len()),
            sample: (members.len() > COMPARE_ALL).then(|| Sample::new(members.len())),
        }
    }

    /// What the averages say.
    fn expectation(&self, peer: usize, peers: &dyn Candidates) -> Expectation {
        peers.latency(peer).expectation(self.measure, self.members[peer].fail_timeout, peers.now())
    }

    /// The best of all, or, if only that is left, of the first eligible ones.
    fn of_all(&self, peers: &dyn Candidates) -> Option<usize> {
        let mut seen = [Seeming::default(); COMPARE_ALL];
        let mut count = 0;
        for peer in (0..self.members.len()).filter(|peer| peers.eligible(*peer)).take(COMPARE_ALL) {
            seen[count] = self.consider(peer, peers);
            count += 1;
        }
        let seen = &seen[..count];
        let fastest = seen.iter().map(|seeming| seeming.expected).min_by_key(|expected| expected.micros)?;
        let loads = seen.iter().map(|seeming| (seeming.peer, self.load(*seeming, fastest, peers)));
        self.to_look_at(seen, fastest, peers).or_else(|| least(&self.turns, loads))
    }

    /// The best of a sample, or `None` if nobody in it is eligible.
    fn of_sample(&self, sample: &Sample, peers: &dyn Candidates) -> Option<usize> {
        let mut seen = [Seeming::default(); sample::SIZE];
        let mut count = 0;
        let mut newcomer: Option<Seeming> = None;
        sample.draw(|peer, listed| {
            if peers.eligible(peer) {
                let seeming = self.consider(peer, peers);
                seen[count] = seeming;
                count += 1;
                if !listed && newcomer.is_none_or(|fastest| seeming.expected.micros < fastest.expected.micros) {
                    newcomer = Some(seeming);
                }
            }
        });
        let seen = &seen[..count];
        let fastest = seen.iter().map(|seeming| seeming.expected).min_by_key(|expected| expected.micros)?;
        let pick = self.picks.load(Relaxed);
        if let Some(Seeming { peer, expected }) = newcomer {
            sample.met(peer, pick, |occupant| expected.micros < self.expectation(occupant, peers).micros);
        }
        let rested = |peer: usize| {
            let Seen { weight, last_pick, .. } = &self.members[peer];
            u128::from(pick.saturating_sub(last_pick.load(Relaxed))) * u128::from(*weight)
        };
        let loads = seen.iter().map(|seeming| (seeming.peer, self.load(*seeming, fastest, peers)));
        let best =
            || loads.min_by(|(a, load), (b, other)| load.compare(*other).then_with(|| rested(*b).cmp(&rested(*a))));
        self.to_look_at(seen, fastest, peers).or_else(|| best().map(|(peer, _)| peer))
    }

    fn consider(&self, peer: usize, peers: &dyn Candidates) -> Seeming {
        if self.inflight {
            peers.latency(peer).observe_unfinished(self.measure, peers.now());
        }
        Seeming { peer, expected: self.expectation(peer, peers) }
    }

    /// Of these eligible peers an idle one whose averages are too old to go by, if it is its turn to be looked at.
    fn to_look_at(&self, eligible: &[Seeming], fastest: Expectation, peers: &dyn Candidates) -> Option<usize> {
        let count = self.members.len() as u64;
        let pick = self.picks.load(Relaxed);
        let patience = count * if pick < count * NEW { PICKS_BETWEEN_LOOKS_WHEN_NEW } else { PICKS_BETWEEN_LOOKS };
        let first_pick = Timestamp::micros(self.first_pick.load(Relaxed));
        let now = peers.now();
        let due = |seeming: &&Seeming| {
            let latency = peers.latency(seeming.peer);
            let seen = &self.members[seeming.peer];
            let last = latency.last_picked().unwrap_or(first_pick);
            let idle = now.as_micros().saturating_sub(last.as_micros().max(seen.last_look.load(Relaxed)));
            let passed_over = pick.saturating_sub(seen.last_pick.load(Relaxed));
            let old = u128::from(idle) >= seen.fail_timeout.as_micros()
                || passed_over > patience && seeming.expected.micros <= fastest.micros + CHEAP_LOOK;
            old && latency.waiting() == 0
        };
        let due = eligible.iter().filter(due).map(|seeming| seeming.peer);
        let peer = due.min_by_key(|peer| peers.latency(*peer).last_picked())?;
        self.claim_look(peer, peers).then_some(peer)
    }

    /// Of several workers that notice at once, one.
    fn claim_look(&self, peer: usize, peers: &dyn Candidates) -> bool {
        let last_look = &self.members[peer].last_look;
        let before = last_look.load(Relaxed);
        let now = peers.now().as_micros();
        let claimed = before < now && last_look.compare_exchange(before, now, Relaxed, Relaxed).is_ok();
        if claimed {
            peers.latency(peer).doubt();
        }
        claimed
    }

    fn load(&self, seeming: Seeming, fastest: Expectation, peers: &dyn Candidates) -> Load {
        let Seeming { peer, expected } = seeming;
        let level = expected.micros <= fastest.micros + (fastest.micros / 4).max(NEARLY);
        let mut millis = if level { fastest.millis } else { expected.millis };
        if self.inflight {
            millis = millis.max(peers.latency(peer).unfinished(self.measure).unwrap_or(0));
        }
        Load {
            cost: bucket(millis) * (1 + u64::from(peers.in_flight(peer))),
            weight: scaled(self.members[peer].weight, peers.ramp(peer)),
        }
    }
}

/// In µs: what is this much slower than the fastest, or a quarter, is as fast.
const NEARLY: u64 = 5_000;

/// In µs: how much slower than the fastest a peer may seem, and still be looked at for being passed over.
const CHEAP_LOOK: u64 = 100_000;

/// Per peer: how many picks pass one over before it is looked at.
const PICKS_BETWEEN_LOOKS: u64 = 8;

/// Per peer: for how many picks little is known of anybody. An application's first answer is often its slowest.
const NEW: u64 = 32;

/// [`PICKS_BETWEEN_LOOKS`] until then.
const PICKS_BETWEEN_LOOKS_WHEN_NEW: u64 = 2;

/// How many samples without anybody eligible are drawn before all are compared.
const SAMPLES: usize = 4;

impl Balancer for LeastTime {
    fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        let sampled = self.sample.iter().flat_map(|sample| (0..SAMPLES).map(move |_| sample));
        let peer = sampled
            .filter_map(|sample| self.of_sample(sample, peers))
            .next()
            // If everybody in the samples is full, or was tried.
            .or_else(|| self.of_all(peers))?;
        let pick = self.picks.fetch_add(1, Relaxed) + 1;
        if pick == 1 {
            self.first_pick.store(peers.now().as_micros(), Relaxed);
        }
        self.members[peer].last_pick.store(pick, Relaxed);
        Some(peer)
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        let present = (0..peers.count()).filter(|peer| peers.eligible(*peer));
        self.sample.iter().for_each(|sample| sample.set_present(present.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FAIL_TIMEOUT, Tier, name};
    use super::super::{FULL, Method};
    use super::*;

    const LAST_BYTE: Method = Method::LeastTime { measure: Measure::LastByte, inflight: false };
    const INFLIGHT: Method = Method::LeastTime { measure: Measure::Header, inflight: true };

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// One answer of that time ago, for each peer that has one.
    fn after(averages: &[u64]) -> Tier {
        let mut tier = Tier::weights(&vec![1; averages.len()]);
        for (peer, average) in tier.peers.iter().zip(averages).filter(|(_, average)| **average > 0) {
            let mut timing = peer.latency.picked(tier.now);
            peer.latency.header(&mut timing, tier.now + millis(*average));
            peer.latency.finished(timing, tier.now + millis(*average));
        }
        tier.now = tier.now + millis(averages.iter().copied().max().unwrap_or(0));
        tier
    }

    #[test]
    fn the_faster_peer_is_picked() {
        let tier = after(&[250, 40, 90]);
        assert_eq!(tier.picks(&*tier.build(LAST_BYTE), 5), "bbbbb");
    }

    #[test]
    fn steps_of_20_ms_times_the_requests_are_compared() {
        // a: 40 * 1, b: 20 * 2; level, so they take turns.
        let mut tier = after(&[25, 10]);
        tier.peers[1].in_flight = 1;
        assert_eq!(tier.picks(&*tier.build(LAST_BYTE), 4), "abab");
        // c: 20 * 1.
        let mut tier = after(&[25, 10, 3]);
        tier.peers[1].in_flight = 1;
        assert_eq!(tier.picks(&*tier.build(LAST_BYTE), 4), "cccc");
    }

    #[test]
    fn a_fresh_peer_that_is_slow_gets_one_request_of_ten() {
        // spec §4.7, the answer of a takes 4 s.
        let mut tier = Tier::weights(&[1, 1]);
        let balancer = tier.build(LAST_BYTE);
        let picks: String =
            (0..10).map(|_| serve(&mut tier, &*balancer, |peer| if peer == 0 { 4_000 } else { 5 })).collect();
        assert_eq!(picks, "abbbbbbbbb");
    }

    #[test]
    fn idle_peers_of_one_speed_take_turns() {
        let mut tier = Tier::weights(&[1, 1, 1]);
        let balancer = tier.build(LAST_BYTE);
        let picks: String = (0..9).map(|_| serve(&mut tier, &*balancer, |_| 8)).collect();
        assert_eq!(picks, "abcabcabc");
    }

    #[test]
    fn a_lighter_peer_gets_the_rest_and_does_not_starve() {
        let mut tier = Tier::weights(&[2, 1]);
        let balancer = tier.build(LAST_BYTE);
        let picks: String = (0..40).map(|_| serve(&mut tier, &*balancer, |_| 8)).collect();
        assert_eq!(picks, "aaaaabaaaaabaaaaabaaaaabaaaaabaaaaabaaaa");
    }

    #[test]
    fn a_ramping_peer_costs_more() {
        let mut tier = after(&[8, 8]);
        tier.peers[0].ramp = FULL / 4;
        assert_eq!(tier.picks(&*tier.build(LAST_BYTE), 3), "bbb");
    }

    #[test]
    fn unfinished_requests_tell_before_they_are_averaged() {
        let mut tier = after(&[10, 30]);
        let balancer = tier.build(INFLIGHT);
        assert_eq!(tier.picks(&*balancer, 2), "aa");
        let waiting = tier.peers[0].latency.picked(tier.now);
        tier.now = tier.now + millis(900);
        assert_eq!(tier.picks(&*balancer, 2), "bb");
        assert_eq!(tier.picks(&*tier.build(LAST_BYTE), 2), "aa", "only if asked for");
        tier.peers[0].latency.finished(waiting, tier.now);
    }

    #[test]
    fn a_healthy_peer_that_was_unused_for_fail_timeout_gets_one_request() {
        let mut tier = after(&[2_000, 10]);
        let balancer = tier.build(LAST_BYTE);
        assert_eq!(tier.picks(&*balancer, 3), "bbb");
        tier.now = Timestamp::secs(1) + FAIL_TIMEOUT;
        let picks: String = (0..3).map(|_| serve(&mut tier, &*balancer, |_| 10)).collect();
        // The look at b is due, too: it was last used as long ago.
        assert_eq!(picks, "abb");
        assert_eq!(
            tier.peers[0].latency.average(Measure::LastByte),
            Some(Duration::from_micros(507_500)),
            "its answer counts most"
        );
    }

    #[test]
    fn a_look_that_hangs_is_not_repeated() {
        let mut tier = after(&[2_000, 10]);
        let balancer = tier.build(LAST_BYTE);
        tier.now = tier.now + FAIL_TIMEOUT;
        let a = balancer.pick(&tier, &[]);
        let hanging = tier.peers[a.expect("both are eligible")].latency.picked(tier.now);
        for _ in 0..10 {
            tier.now = tier.now + FAIL_TIMEOUT;
            assert_eq!(serve(&mut tier, &*balancer, |_| 10), 'b');
        }
        tier.peers[0].latency.failed(hanging, tier.now);
    }

    #[test]
    fn an_ineligible_peer_is_not_looked_at() {
        let mut tier = after(&[2_000, 10]).only("b");
        let balancer = tier.build(LAST_BYTE);
        tier.now = tier.now + 2 * FAIL_TIMEOUT;
        assert_eq!(tier.picks(&*balancer, 3), "bbb");
        assert_eq!(tier.only("").picks(&*balancer, 1), "-");
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
        for (seed, concurrency) in (1..=10).flat_map(|seed| [2, 3, 5, 8, 12, 30].map(|concurrency| (seed, concurrency)))
        {
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
            run(&mut tier, picked, &mut time);
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

    /// One request from pick to last byte, alone.
    fn serve(tier: &mut Tier, balancer: &dyn Balancer, time: impl FnMut(usize) -> u64) -> char {
        let Some(picked) = balancer.pick(tier, &[]) else { return '-' };
        run(tier, picked, time);
        name(Some(picked))
    }

    /// One request to a peer, from pick to last byte, alone.
    fn run(tier: &mut Tier, picked: usize, mut time: impl FnMut(usize) -> u64) {
        let mut timing = tier.peers[picked].latency.picked(tier.now);
        tier.now = tier.now + millis(time(picked));
        tier.peers[picked].latency.header(&mut timing, tier.now);
        tier.peers[picked].latency.finished(timing, tier.now);
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
            }
            let peer = balancer.pick(tier, &[]).expect("all are eligible");
            tier.peers[peer].in_flight += 1;
            let timing = tier.peers[peer].latency.picked(tier.now);
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
}
