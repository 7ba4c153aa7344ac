//! Which peer, by chance? (nginx: `ngx_http_upstream_random_module.c`)

use super::latency::Measure;
use super::least_conn::Load;
use super::numbers::Numbers;
use super::round_robin::RoundRobin;
use super::shares::Shares;
use super::smooth::scaled;
use super::speed::{FailTimeout, bucket};
use super::{Balancer, Candidates, FULL, MAX_REJECTIONS, Member, Two};

/// One draw by weight, or the better of two. Absent peers keep their shares; who draws one draws again.
#[derive(Debug)]
pub(super) struct Random {
    shares: Shares,
    weights: Box<[u32]>,
    fail_timeouts: Box<[FailTimeout]>,
    two: Option<Two>,
    source: Source,
    otherwise: RoundRobin,
}

impl Random {
    pub(super) fn new(members: &[Member<'_>], two: Option<Two>, seed: u64) -> Random {
        Random {
            shares: Shares::new(members),
            weights: members.iter().map(|member| member.weight).collect(),
            fail_timeouts: members.iter().map(|member| member.fail_timeout.into()).collect(),
            two,
            source: Source { seed, picks: Numbers::default() },
            otherwise: RoundRobin::new(members),
        }
    }

    fn draw(&self, draws: &mut Draws) -> usize {
        self.shares.owner(draws.below(self.shares.total()))
    }

    /// A peer that ramps up turns down some of its draws.
    fn accepts(&self, peer: usize, peers: &dyn Candidates, draws: &mut Draws) -> bool {
        peers.eligible(peer) && {
            let ramp = peers.ramp(peer);
            ramp >= FULL || draws.below(u64::from(FULL)) < u64::from(ramp)
        }
    }

    fn one(&self, peers: &dyn Candidates) -> Option<usize> {
        let mut draws = self.source.draws();
        (0..=MAX_REJECTIONS).find_map(|_| {
            let drawn = self.draw(&mut draws);
            self.accepts(drawn, peers, &mut draws).then_some(drawn)
        })
    }

    /// The better of two different peers; if they are level, the second.
    fn two(&self, by: Two, peers: &dyn Candidates) -> Option<usize> {
        let mut draws = self.source.draws();
        let mut first = None;
        let mut rejections = 0;
        while rejections <= MAX_REJECTIONS {
            let drawn = self.draw(&mut draws);
            match first {
                _ if first == Some(drawn) || !self.accepts(drawn, peers, &mut draws) => rejections += 1,
                None => first = Some(drawn),
                Some(first) => {
                    let first_is_better = self.load(by, first, peers).compare(self.load(by, drawn, peers)).is_lt();
                    return Some(if first_is_better { first } else { drawn });
                }
            }
        }
        None
    }

    fn load(&self, by: Two, peer: usize, peers: &dyn Candidates) -> Load {
        let in_flight = u64::from(peers.in_flight(peer));
        let cost = match by {
            Two::LeastConn => in_flight,
            Two::LeastTime(measure) => self.expected(measure, peer, peers) * (1 + in_flight),
        };
        Load { cost, weight: scaled(self.weights[peer], peers.ramp(peer)) }
    }

    fn expected(&self, measure: Measure, peer: usize, peers: &dyn Candidates) -> u64 {
        bucket(peers.latency(peer).expectation(measure, self.fail_timeouts[peer], peers.now()).millis)
    }
}

impl Balancer for Random {
    fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        let drawn = match self.two {
            _ if self.shares.count() < 2 => None,
            None => self.one(peers),
            Some(by) => self.two(by, peers),
        };
        drawn.or_else(|| self.otherwise.pick(peers, &[]))
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.otherwise.availability_changed(peers);
    }
}

/// Random numbers for all workers without a lock: splitmix64 over the number of the pick.
#[derive(Debug)]
struct Source {
    seed: u64,
    picks: Numbers,
}

/// The numbers of one pick: splitmix64 from there on.
struct Draws(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Source {
    fn draws(&self) -> Draws {
        Draws(mixed(self.seed.wrapping_add(self.picks.next().wrapping_mul(GOLDEN_GAMMA))))
    }
}

impl Draws {
    /// Uniform below `limit`, which must not be zero: the upper half of a product, whose bias is under `limit`/2^64.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mixed(self.0)
    }
}

fn mixed(mut number: u64) -> u64 {
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Method;
    use super::super::testing::{Tier, name};
    use super::*;

    const ONE: Method = Method::Random { two: None };
    const LEAST_CONN: Method = Method::Random { two: Some(Two::LeastConn) };
    const LEAST_TIME: Method = Method::Random { two: Some(Two::LeastTime(Measure::Header)) };

    /// What the generator of `Tier::build` draws for each of so many picks, by name.
    fn drawn(weights: &[u32], picks: usize) -> Vec<String> {
        let balancer = Random::new(&Tier::weights(weights).members(), None, 1);
        let pick = |_| {
            let mut draws = balancer.source.draws();
            (0..40).map(|_| name(Some(balancer.draw(&mut draws)))).collect()
        };
        (0..picks).map(pick).collect()
    }

    /// The first of each.
    fn first(drawn: impl IntoIterator<Item = String>) -> String {
        drawn.into_iter().filter_map(|draws| draws.chars().next()).collect()
    }

    #[test]
    fn draws_are_splitmix64() {
        let mut draws = Draws(1_234_567);
        assert_eq!([draws.next(), draws.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_pick_is_its_first_draw() {
        let tier = Tier::weights(&[1, 2, 3]);
        assert_eq!(tier.picks(&*tier.build(ONE), 20), first(drawn(&[1, 2, 3], 20)));
    }

    #[test]
    fn an_ineligible_draw_is_drawn_again() {
        let tier = Tier::weights(&[1, 1, 1]).only("ac");
        let kept = drawn(&[1, 1, 1], 30).into_iter().map(|draws| draws.replace('b', ""));
        assert_eq!(tier.picks(&*tier.build(ONE), 30), first(kept));
    }

    #[test]
    fn shares_follow_the_weights() {
        let tier = Tier::weights(&[5, 1, 1]);
        let picks = tier.picks(&*tier.build(ONE), 7_000);
        let a = picks.matches('a').count();
        assert!((4_850..5_150).contains(&a), "{a} of 7000");
    }

    #[test]
    fn of_two_that_are_level_the_second_draw_wins() {
        let draws: Vec<char> = drawn(&[1, 1, 1], 1)[0].chars().collect();
        let second = (1..40).find(|i| draws[*i] != draws[0]).expect("40 draws of three differ");
        let tier = Tier::weights(&[1, 1, 1]);
        assert_eq!(tier.picks(&*tier.build(LEAST_CONN), 1), draws[second].to_string());
    }

    #[test]
    fn of_two_the_one_with_fewer_requests_per_weight_wins() {
        let mut tier = Tier::weights(&[1, 1]);
        tier.peers[1].in_flight = 1;
        assert_eq!(tier.picks(&*tier.build(LEAST_CONN), 10), "aaaaaaaaaa");
        let mut weighted = Tier::weights(&[2, 1]);
        weighted.peers[0].in_flight = 3;
        weighted.peers[1].in_flight = 2;
        assert_eq!(weighted.picks(&*weighted.build(LEAST_CONN), 10), "aaaaaaaaaa");
    }

    #[test]
    fn of_two_the_faster_wins() {
        let tier = Tier::weights(&[1, 1]);
        let mut slow = tier.peers[1].latency.picked(tier.now);
        tier.peers[1].latency.header(&mut slow, tier.now + Duration::from_millis(50));
        tier.peers[1].latency.finished(slow, tier.now + Duration::from_millis(50));
        assert_eq!(tier.picks(&*tier.build(LEAST_TIME), 10), "aaaaaaaaaa");
    }

    #[test]
    fn if_only_one_is_eligible_it_is_found() {
        for method in [ONE, LEAST_CONN, LEAST_TIME] {
            let tier = Tier::weights(&[1_000_000, 1, 1]).only("b");
            assert_eq!(tier.picks(&*tier.build(method.clone()), 3), "bbb");
            assert_eq!(tier.only("").picks(&*Tier::weights(&[1, 1, 1]).build(method), 1), "-");
        }
    }

    #[test]
    fn a_ramping_peer_takes_part_of_its_draws() {
        let mut tier = Tier::weights(&[1, 1]);
        tier.peers[0].ramp = FULL / 4;
        let picks = tier.picks(&*tier.build(ONE), 1_000);
        let a = picks.matches('a').count();
        assert!((170..230).contains(&a), "{a} of 1000 where a fifth was due");
    }

    #[test]
    fn one_peer_needs_no_draw() {
        let tier = Tier::weights(&[7]);
        assert_eq!(tier.picks(&*tier.build(LEAST_CONN), 3), "aaa");
    }
}
