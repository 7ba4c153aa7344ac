//! Who will answer soonest? (nginx: `ngx_http_upstream_least_time_module.c`)

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::latency::Latency;
use super::looks::{Found, Looks};
use super::sample::Sample;
use super::scores::Scores;
use super::speed::{FailTimeout, Speed};
use super::{Balancer, COMPARE_ALL, Candidates, Measure, Member};

/// The lowest expected time per weight, where the expected time is the average, in steps of 20 ms, times the requests
/// the peer would then have. Those that are level take turns.
///
/// Three things are weir's own, so that nobody starves by bad luck: peers that are nearly as fast as the fastest count
/// as equally fast (else 19 ms get everything and 20 ms nothing); a peer that was not used for `fail_timeout` gets one
/// request; so does, after a while of being passed over, one that seems a little slower. The answer to such a request
/// counts three quarters in the average, for what was known is old.
///
/// A pick compares what [`Scores`] know, and asks only the peer that it would pick. Now and then it asks all, which is when
/// [`Looks`] says that somebody can be due: what time alone changes (averages that fade, a weight that grows) is put right
/// then, and so is what nobody told.
///
/// Up to [`COMPARE_ALL`] peers it is the best of all of them. Above, it is the best of a [`Sample`]: the next 24 in their order,
/// which is to be shuffled, so that everybody comes up in each round, and the 8 fastest that were met. Instead of all now and
/// then, each pick asks one.
#[derive(Debug)]
pub(super) struct LeastTime {
    measure: Measure,
    inflight: bool,
    fail_timeouts: Box<[FailTimeout]>,
    scores: Scores,
    looks: Looks,
    /// When the unfinished requests of all were observed last, in ms.
    observed: AtomicU64,
    /// Only for very many.
    sample: Option<Sample>,
}

/// How many samples without anybody eligible are drawn before all are compared.
const SAMPLES: u64 = 4;

/// How many peers that turn out not to be eligible a pick passes over before it asks all.
const PATIENCE: usize = 4;

impl LeastTime {
    pub(super) fn new(members: &[Member<'_>], measure: Measure, inflight: bool) -> LeastTime {
        LeastTime {
            measure,
            inflight,
            fail_timeouts: members.iter().map(|member| member.fail_timeout.into()).collect(),
            scores: Scores::new(members),
            looks: Looks::new(members),
            observed: AtomicU64::new(0),
            sample: (members.len() > COMPARE_ALL).then(|| Sample::new(members.len())),
        }
    }

    /// The best of all.
    fn of_all(&self, pick: u64, peers: &dyn Candidates) -> Option<usize> {
        if self.looks.search_is_due(pick, peers.now())
            && let Some(peer) = self.look_at_all(pick, peers)
        {
            return Some(peer);
        }
        let now = peers.now().as_millis();
        if self.inflight && self.observed.load(Relaxed) != now {
            self.observed.store(now, Relaxed);
            self.observe_unfinished(0..self.fail_timeouts.len(), peers);
        }
        let best = self.scores.best()?;
        if peers.eligible(best) {
            return Some(best);
        }
        self.past(best, |passed| self.scores.best_but(passed), peers)
    }

    /// The best of a sample, or `None` if nobody in it is eligible.
    fn of_sample(&self, sample: &Sample, pick: u64, peers: &dyn Candidates) -> Option<usize> {
        let drawn = sample.draw(pick);
        let newcomers = drawn.next.iter().map(|some| self.scores.fastest_in(some.clone())).min().unwrap_or(Speed::NONE);
        let listed = drawn.short_list.iter().map(|peer| self.scores.speed(*peer)).min();
        let fastest = listed.map_or(newcomers, |listed| listed.min(newcomers));
        let newcomer = || drawn.next().find(|peer| self.scores.speed(*peer) == newcomers);
        sample.met(pick, |listed| newcomers < self.scores.speed(listed), newcomer);
        // One peer is asked rather than believed, another one each time, so that by and by everybody is.
        if let Some(asked) = self.looks.whom_to_ask(pick, peers.now())
            && let Some(peer) = self.look_at(pick, asked, fastest, peers)
        {
            return Some(peer);
        }
        if self.inflight {
            drawn.next.iter().for_each(|some| self.observe_unfinished(some.clone(), peers));
            drawn.short_list.iter().for_each(|peer| self.observe_unfinished(*peer..peer + 1, peers));
        }
        let best = self.scores.best_drawn(fastest, &drawn)?;
        if peers.eligible(best) {
            return Some(best);
        }
        let others = |passed: &[usize]| self.scores.best_of(fastest, drawn.all().filter(|peer| !passed.contains(peer)));
        self.past(best, others, peers)
    }

    /// The best but for the one that turned out not to be eligible: tried by this very request, or not available since just
    /// now.
    #[cold]
    fn past(
        &self,
        first: usize,
        best_of_others: impl Fn(&[usize]) -> Option<usize>,
        peers: &dyn Candidates,
    ) -> Option<usize> {
        let mut passed = [first; PATIENCE];
        for step in 1..=PATIENCE {
            let best = best_of_others(&passed)?;
            if peers.eligible(best) {
                return Some(best);
            }
            passed.get_mut(step).into_iter().for_each(|place| *place = best);
        }
        None
    }

    /// The best of the first eligible ones, by their own words.
    #[cold]
    fn by_asking(&self, peers: &dyn Candidates) -> Option<usize> {
        let eligible = (0..self.fail_timeouts.len()).filter(|peer| peers.eligible(*peer)).take(COMPARE_ALL);
        let asked = eligible.map(|peer| {
            self.ask(peer, peers);
            (peer, self.speed(peer, peers), peers.in_flight(peer))
        });
        self.scores.best_by(asked)
    }

    /// Who is due to be looked at. From time to time everybody is asked first.
    #[cold]
    fn look_at_all(&self, pick: u64, peers: &dyn Candidates) -> Option<usize> {
        let all = 0..self.fail_timeouts.len();
        if self.looks.ask_is_due(pick, peers.now()) {
            self.scores.forget_fastest();
            all.clone().for_each(|peer| self.ask(peer, peers));
            self.looks.asked(pick, peers.now());
        }
        let found = self.search(pick, all, self.scores.fastest(), peers);
        self.looks.schedule(&found);
        found.due.filter(|peer| self.looks.claim(*peer, peers))
    }

    /// Asks a peer, which may be due to be looked at.
    fn look_at(&self, pick: u64, peer: usize, fastest: Speed, peers: &dyn Candidates) -> Option<usize> {
        self.ask(peer, peers);
        let found = self.search(pick, peer..peer + 1, fastest, peers);
        found.due.filter(|peer| self.looks.claim(*peer, peers))
    }

    fn search(&self, pick: u64, some: Range<usize>, fastest: Speed, peers: &dyn Candidates) -> Found {
        self.looks.search(pick, some, fastest.micros(), |peer| self.scores.speed(peer).micros(), peers)
    }

    /// Puts right what is known of a peer.
    fn ask(&self, peer: usize, peers: &dyn Candidates) {
        self.scores.set_ramp(peer, peers.ramp(peer));
        self.scores.update(peer, self.speed(peer, peers), &|| peers.in_flight(peer));
    }

    fn speed(&self, peer: usize, peers: &dyn Candidates) -> Speed {
        let latency = peers.latency(peer);
        let expected = latency.expectation(self.measure, self.fail_timeouts[peer], peers.now());
        Speed::new(expected, self.unfinished(latency))
    }

    fn unfinished(&self, latency: &Latency) -> Option<u64> {
        if self.inflight { latency.unfinished(self.measure) } else { None }
    }

    /// The age of their unfinished requests goes into the averages of some neighbours, as far as they can have any.
    fn observe_unfinished(&self, some: Range<usize>, peers: &dyn Candidates) {
        self.scores.busy_in(some, |peer| {
            let latency = peers.latency(peer);
            latency.observe_unfinished(self.measure, peers.now());
            self.scores.set_unfinished(peer, self.unfinished(latency));
        });
    }
}

impl Balancer for LeastTime {
    fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        let (pick, found) = match &self.sample {
            None => {
                let pick = self.looks.next_pick();
                (pick, self.of_all(pick, peers))
            }
            Some(sample) => {
                let pick = sample.next_pick();
                (pick, (0..SAMPLES).find_map(|further| self.of_sample(sample, pick + further, peers)))
            }
        };
        // If nobody is known who could be picked, that is for the peers to say.
        let peer = found.or_else(|| self.by_asking(peers))?;
        self.looks.picked(pick, peer, peers.now());
        self.scores.take_turn(peer);
        Some(peer)
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        for peer in 0..peers.count() {
            self.scores.set_present(peer, peers.eligible(peer));
            self.ask(peer, peers);
        }
        self.looks.search_next();
        let present = (0..peers.count()).filter(|peer| peers.eligible(*peer));
        self.sample.iter().for_each(|sample| sample.set_present(present.clone()));
    }

    fn watches_use(&self) -> bool {
        true
    }

    fn watches_heads(&self) -> bool {
        self.measure == Measure::Header
    }

    fn use_changed(&self, peer: usize, latency: &Latency, in_flight: &dyn Fn() -> u32) {
        // It was used just now, so its averages have not faded.
        let speed = Speed::new(latency.unfaded(self.measure), self.unfinished(latency));
        self.scores.update(peer, speed, in_flight);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{FAIL_TIMEOUT, Tier, serve};
    use super::super::{FULL, Method};
    use super::*;
    use crate::clock::Timestamp;

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
        tier.peers[0].in_flight = 1;
        tier.tell(&*balancer, 0);
        tier.now = tier.now + millis(900);
        assert_eq!(tier.picks(&*balancer, 2), "bb");
        tier.peers[0].in_flight = 0;
        assert_eq!(tier.picks(&*tier.build(LAST_BYTE), 2), "aa", "only if asked for");
        tier.peers[0].latency.finished(waiting, tier.now);
    }

    #[test]
    fn what_waits_is_observed_once_a_millisecond() {
        let mut tier = after(&[10, 30]);
        let balancer = tier.build(INFLIGHT);
        let waiting = tier.peers[0].latency.picked(tier.now);
        tier.peers[0].in_flight = 1;
        tier.tell(&*balancer, 0);
        for (time, due) in [(900, 900), (100, 905), (0, 905), (1, 910)] {
            tier.now = tier.now + millis(time);
            (0..3).for_each(|_| _ = balancer.pick(&tier, &[]));
            assert_eq!(tier.peers[0].latency.unfinished(Measure::Header), Some(due));
        }
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
}
