//! Who has least to do? (nginx: `ngx_http_upstream_least_conn_module.c`)

use super::index::Index;
use super::smooth::{Smooth, scaled};
use super::{Balancer, COMPARE_ALL, Candidates, Latency, Member};

/// Up to how many peers all are compared at each pick, at some 115 instructions each: that is up to a tenth of a request. Above,
/// an index says who is how busy.
const EXACT: usize = 16;

/// The fewest requests in flight per weight; those that are level take turns.
#[derive(Debug)]
pub(super) struct LeastConn {
    weights: Box<[u32]>,
    turns: Smooth,
    /// Only for many.
    index: Option<Index>,
}

impl LeastConn {
    pub(super) fn new(members: &[Member<'_>]) -> LeastConn {
        LeastConn {
            weights: members.iter().map(|member| member.weight).collect(),
            turns: Smooth::new(members.len()),
            index: (members.len() > EXACT).then(|| Index::new(members)),
        }
    }

    fn compare_all<const MOST: usize>(&self, peers: &dyn Candidates) -> Option<usize> {
        let eligible = (0..self.weights.len()).filter(|peer| peers.eligible(*peer));
        let load = |peer| Load {
            cost: u64::from(peers.in_flight(peer)),
            weight: scaled(self.weights[peer], peers.ramp(peer)),
        };
        least::<MOST>(&self.turns, eligible.map(|peer| (peer, load(peer))))
    }
}

impl Balancer for LeastConn {
    fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        match &self.index {
            // If the index knows nobody, that is for the peers to say.
            Some(index) => index.pick(peers).or_else(|| self.compare_all::<COMPARE_ALL>(peers)),
            None => self.compare_all::<EXACT>(peers),
        }
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.index.iter().for_each(|index| index.availability_changed(peers));
    }

    fn watches_use(&self) -> bool {
        self.index.is_some()
    }

    fn use_changed(&self, peer: usize, _latency: &Latency, in_flight: &dyn Fn() -> u32) {
        self.index.iter().for_each(|index| index.in_flight_changed(peer, in_flight));
    }
}

/// What a peer has to do, and how much it can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub cost: u64,
    pub weight: u64,
}

impl Load {
    /// Compares cost per weight, without dividing.
    pub(super) fn compare(self, other: Load) -> std::cmp::Ordering {
        if self.weight == other.weight {
            return self.cost.cmp(&other.cost);
        }
        let (mine, others) =
            (u128::from(self.cost) * u128::from(other.weight), u128::from(other.cost) * u128::from(self.weight));
        mine.cmp(&others)
    }
}

/// The peer with the least load; if several are level, one step of weighted turns among them (the first `MOST`) decides.
fn least<const MOST: usize>(turns: &Smooth, peers: impl Iterator<Item = (usize, Load)>) -> Option<usize> {
    let mut level = [(0, 0); MOST];
    let mut count = 0;
    let mut lowest = Load { cost: u64::MAX, weight: 1 };
    for (peer, load) in peers {
        let order = load.compare(lowest);
        if order.is_lt() {
            lowest = load;
            count = 0;
        }
        if order.is_le()
            && let Some(place) = level.get_mut(count)
        {
            *place = (peer, load.weight);
            count += 1;
        }
    }
    match level.get(..count)? {
        [] => None,
        [(peer, _)] => Some(*peer),
        several => turns.step(several.iter().copied()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tier;
    use super::super::{FULL, Method};
    use super::*;

    const METHOD: Method = Method::LeastConn;

    #[test]
    fn idle_peers_take_turns_by_weight() {
        for (weights, picks) in [(&[1, 1, 1][..], "abcabc"), (&[3, 1], "aaba")] {
            let tier = Tier::weights(weights);
            assert_eq!(tier.picks(&*tier.build(METHOD), picks.len()), picks);
        }
    }

    #[test]
    fn requests_are_compared_per_weight() {
        let mut tier = Tier::weights(&[1, 4]);
        tier.peers[0].in_flight = 1;
        tier.peers[1].in_flight = 2;
        assert_eq!(tier.picks(&*tier.build(METHOD), 3), "bbb");
    }

    #[test]
    fn overlapping_requests_go_as_with_nginx() {
        let mut tier = Tier::weights(&[3, 1]);
        let balancer = tier.build(METHOD);
        assert_eq!(tier.overlapping(&*balancer, 8), "abaaabaa");
    }

    #[test]
    fn only_the_eligible_are_compared() {
        let mut tier = Tier::weights(&[1, 1, 1]).only("bc");
        tier.peers[1].in_flight = 5;
        let balancer = tier.build(METHOD);
        assert_eq!(tier.picks(&*balancer, 2), "cc");
        assert_eq!(tier.only("").picks(&*balancer, 1), "-");
    }

    #[test]
    fn a_ramping_peer_has_less_weight() {
        let mut tier = Tier::weights(&[1, 1]);
        tier.peers[0].ramp = FULL / 3;
        let balancer = tier.build(METHOD);
        let picks = tier.overlapping(&*balancer, 40);
        assert_eq!(picks.matches('a').count(), 10);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut tier = Tier::weights(&[u32::MAX, u32::MAX, 1]);
        tier.peers.iter_mut().for_each(|peer| peer.in_flight = u32::MAX);
        assert_eq!(tier.picks(&*tier.build(METHOD), 2), "ab");
    }

    #[test]
    fn whether_all_are_compared_or_an_index_knows_them_they_are_filled_level_by_level() {
        for count in [EXACT, EXACT + 1, EXACT + 2, 40, 128, 129] {
            let mut tier = Tier::weights(&vec![1; count]);
            let balancer = LeastConn::new(&tier.members());
            balancer.availability_changed(&tier);
            assert_eq!(balancer.index.is_some(), count > EXACT);
            for level in 1..=3 {
                for _ in 0..count {
                    let peer = balancer.pick(&tier, &[]).expect("all are there");
                    tier.peers[peer].in_flight += 1;
                    tier.tell(&balancer, peer);
                }
                assert!(tier.peers.iter().all(|peer| peer.in_flight == level), "{count}");
            }
        }
    }

    #[test]
    fn a_request_gets_every_one_of_many_peers_and_then_nobody() {
        let mut tier = Tier::weights(&(0..200).map(|peer| peer % 3 + 1).collect::<Vec<_>>());
        let balancer = tier.build(METHOD);
        for _ in 0..200 {
            let peer = balancer.pick(&tier, &[]).expect("somebody is left");
            assert!(std::mem::replace(&mut tier.peers[peer].eligible, false), "{peer} came twice");
        }
        assert_eq!(balancer.pick(&tier, &[]), None);
    }
}
