//! Who has least to do? (nginx: `ngx_http_upstream_least_conn_module.c`)

use super::smooth::{Smooth, scaled};
use super::{Balancer, Candidates, Member};

/// The fewest requests in flight per weight; those that are level take turns.
#[derive(Debug)]
pub(super) struct LeastConn {
    weights: Box<[u32]>,
    turns: Smooth,
}

impl LeastConn {
    pub(super) fn new(members: &[Member<'_>]) -> LeastConn {
        LeastConn { weights: members.iter().map(|member| member.weight).collect(), turns: Smooth::new(members.len()) }
    }
}

impl Balancer for LeastConn {
    fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        least(&self.turns, self.weights.len(), peers, |peer| Load {
            cost: u64::from(peers.in_flight(peer)),
            weight: scaled(self.weights[peer], peers.ramp(peer)),
        })
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
        let (mine, others) =
            (u128::from(self.cost) * u128::from(other.weight), u128::from(other.cost) * u128::from(self.weight));
        mine.cmp(&others)
    }
}

/// The eligible peer with the least load; if several are level, one step of weighted turns among them decides.
pub(super) fn least(
    turns: &Smooth,
    count: usize,
    peers: &dyn Candidates,
    load: impl Fn(usize) -> Load,
) -> Option<usize> {
    let mut best: Option<(usize, Load)> = None;
    let mut level = false;
    for peer in (0..count).filter(|peer| peers.eligible(*peer)) {
        let seen = load(peer);
        match best.map(|(_, best)| seen.compare(best)) {
            None | Some(std::cmp::Ordering::Less) => {
                best = Some((peer, seen));
                level = false;
            }
            Some(std::cmp::Ordering::Equal) => level = true,
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    let (first, lowest) = best?;
    if !level {
        return Some(first);
    }
    let level = (first..count).filter(|peer| peers.eligible(*peer)).map(|peer| (peer, load(peer)));
    let level = level.filter(|(_, load)| load.compare(lowest).is_eq()).map(|(peer, load)| (peer, load.weight));
    // Meanwhile other workers may have given work to all of them.
    turns.step(level).or(Some(first))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tier;
    use super::super::{FULL, Method};

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
}
