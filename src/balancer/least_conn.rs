//! Who has least to do? (nginx: `ngx_http_upstream_least_conn_module.c`)

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::alone::Alone;
use super::levels::{Level, Levels};
use super::round_robin::RoundRobin;
use super::smooth::{Smooth, scaled};
use super::{Balancer, COMPARE_ALL, Candidates, FULL, Latency, Member};

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

/// For more than [`EXACT`] peers. As long as the least busy are many, as they are when all are idle, they take
/// turns by weight. When they are few, the index knows them, and they take turns in their own order.
///
/// That is as exact as [`Levels`] are: loads that differ by less than a request of the heaviest peer, or an eighth,
/// count as level. Requests that are given away at the same moment do not see each other.
#[derive(Debug)]
struct Index {
    levels: Levels,
    rotation: RoundRobin,
    /// After whom it goes on when the least busy are few.
    search_from: Alone<AtomicUsize>,
}

/// How many turns may go to peers that are busier, before the index is asked.
const TURNS: usize = 4;

/// How many peers in the index may be in vain before all are compared.
const MAX_STEPS: usize = 128;

/// How many peers that cannot be picked a search steps over. Those after them are full rather than tried by this very
/// request, and leave the index until they have room.
const PATIENCE: usize = 4;

impl Index {
    fn new(members: &[Member<'_>]) -> Index {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let levels = Levels::new(&weights);
        for peer in 0..weights.len() {
            levels.set_present(peer, true);
            levels.update(peer, || Some(0));
        }
        Index { levels, rotation: RoundRobin::new(members), search_from: Alone::default() }
    }

    fn pick(&self, peers: &dyn Candidates) -> Option<usize> {
        let lowest = self.levels.lowest()?;
        // By and by this comes to everybody, so what the index was not told is put right here.
        let acceptable = |peer| peers.eligible(peer) && self.look_at(peer, peers) <= lowest;
        self.rotation.walk(TURNS, peers, acceptable).or_else(|| self.search(peers))
    }

    fn search(&self, peers: &dyn Candidates) -> Option<usize> {
        let start = self.search_from.load(Relaxed);
        for (step, (level, peer)) in self.levels.ascending(start).take(MAX_STEPS).enumerate() {
            if peers.eligible(peer) {
                if self.look_at(peer, peers) <= level {
                    self.search_from.store((peer + 1) % peers.count(), Relaxed);
                    return Some(peer);
                }
            } else if step >= PATIENCE {
                self.levels.update(peer, || peers.eligible(peer).then(|| self.level(peer, peers)));
            }
        }
        None
    }

    /// Where a peer stands, which the index knows from then on.
    fn look_at(&self, peer: usize, peers: &dyn Candidates) -> Level {
        let level = self.level(peer, peers);
        if !self.levels.knows(peer, level) {
            self.levels.update(peer, || Some(self.level(peer, peers)));
        }
        level
    }

    fn level(&self, peer: usize, peers: &dyn Candidates) -> Level {
        self.levels.level(peer, peers.in_flight(peer), peers.ramp(peer))
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.rotation.availability_changed(peers);
        for peer in 0..peers.count() {
            if self.levels.set_present(peer, peers.eligible(peer)) {
                self.levels.update(peer, || Some(self.level(peer, peers)));
            } else {
                self.look_at(peer, peers);
            }
        }
    }

    fn in_flight_changed(&self, peer: usize, in_flight: &dyn Fn() -> u32) {
        // How far it ramps up is not known here; whoever picks it next sees that.
        self.levels.update(peer, || Some(self.levels.level(peer, in_flight(), FULL)));
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
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::super::Method;
    use super::super::testing::Tier;
    use super::*;
    use crate::clock::Timestamp;

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

    const MANY: usize = 200;

    fn many(weight: fn(usize) -> u32) -> (Tier, LeastConn) {
        let tier = Tier::weights(&(0..MANY).map(weight).collect::<Vec<_>>());
        let balancer = LeastConn::new(&tier.members());
        balancer.availability_changed(&tier);
        (tier, balancer)
    }

    /// Sets what a peer has to do, and tells.
    fn set(tier: &mut Tier, balancer: &LeastConn, peer: usize, in_flight: u32) {
        tier.peers[peer].in_flight = in_flight;
        balancer.use_changed(peer, &tier.peers[peer].latency, &|| in_flight);
    }

    /// A request that lasts.
    fn start(tier: &mut Tier, balancer: &LeastConn) -> Option<usize> {
        // By the index itself: to compare all would hide that it knows nobody.
        let peer = balancer.index.as_ref()?.pick(tier)?;
        let in_flight = tier.peers[peer].in_flight + 1;
        set(tier, balancer, peer, in_flight);
        Some(peer)
    }

    fn loads(tier: &Tier) -> Vec<u32> {
        tier.peers.iter().map(|peer| peer.in_flight).collect()
    }

    #[test]
    fn many_idle_peers_take_turns_by_weight_too() {
        let (tier, balancer) = many(|peer| peer as u32 % 3 + 1);
        let rotation = RoundRobin::new(&tier.members());
        for _ in 0..3 * MANY {
            assert_eq!(balancer.pick(&tier, &[]), rotation.pick(&tier, &[]));
        }
    }

    #[test]
    fn many_peers_are_filled_level_by_level() {
        let (mut tier, balancer) = many(|_| 1);
        for level in 1..=5 {
            (0..MANY).for_each(|_| _ = start(&mut tier, &balancer));
            assert_eq!(loads(&tier), [level; MANY]);
        }
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
                    let in_flight = tier.peers[peer].in_flight + 1;
                    set(&mut tier, &balancer, peer, in_flight);
                }
                assert_eq!(loads(&tier), vec![level; count], "{count}");
            }
        }
    }

    #[test]
    fn many_peers_are_filled_by_weight() {
        let weight: fn(usize) -> u32 = |peer| peer as u32 % 5 + 1;
        let (mut tier, balancer) = many(weight);
        let total: u32 = (0..MANY).map(weight).sum();
        (0..3 * total).for_each(|_| _ = start(&mut tier, &balancer));
        for (peer, load) in loads(&tier).into_iter().enumerate() {
            assert!(load.abs_diff(3 * weight(peer)) <= 1, "{load} at weight {}", weight(peer));
        }
    }

    #[test]
    fn the_one_that_became_less_busy_is_next() {
        let (mut tier, balancer) = many(|_| 1);
        (0..3 * MANY).for_each(|_| _ = start(&mut tier, &balancer));
        for free in [7, 199, 0, 120] {
            set(&mut tier, &balancer, free, 2);
            assert_eq!(start(&mut tier, &balancer), Some(free));
        }
    }

    #[test]
    fn few_that_are_level_take_turns_in_their_order() {
        let (mut tier, balancer) = many(|_| 1);
        (0..MANY).filter(|peer| peer % 50 != 9).for_each(|peer| set(&mut tier, &balancer, peer, 1));
        // Now and then the rotation comes by and takes one out of turn.
        let mut had = [0; MANY];
        (0..100).filter_map(|_| balancer.pick(&tier, &[])).for_each(|peer| had[peer] += 1);
        for peer in [9, 59, 109, 159] {
            assert!((20..=30).contains(&had[peer]), "{peer} had {} of 100 where 25 were due", had[peer]);
        }
    }

    #[test]
    fn what_the_index_was_not_told_it_finds_out() {
        let (mut tier, balancer) = many(|_| 1);
        (0..MANY).for_each(|peer| set(&mut tier, &balancer, peer, 3));
        tier.peers[50].in_flight = 0;
        assert!((0..=MANY / TURNS).any(|_| balancer.pick(&tier, &[]) == Some(50)));
        tier.peers.iter_mut().for_each(|peer| peer.in_flight = 9);
        tier.peers[150].in_flight = 8;
        assert!((0..=MANY).any(|_| balancer.pick(&tier, &[]) == Some(150)));
    }

    #[test]
    fn full_peers_are_stepped_over_until_they_have_room() {
        let (mut tier, balancer) = many(|_| 1);
        for peer in 0..MANY {
            let full = peer < MANY - 2;
            tier.peers[peer].eligible = !full;
            set(&mut tier, &balancer, peer, if full { 1 } else { 5 });
        }
        for _ in 0..10 {
            assert!(balancer.pick(&tier, &[]) >= Some(MANY - 2));
        }
        tier.peers[33].eligible = true;
        set(&mut tier, &balancer, 33, 0);
        assert_eq!(balancer.pick(&tier, &[]), Some(33));
    }

    #[test]
    fn a_request_gets_every_one_of_many_peers_and_then_nobody() {
        let (mut tier, balancer) = many(|peer| peer as u32 % 3 + 1);
        for _ in 0..MANY {
            let peer = balancer.pick(&tier, &[]).expect("somebody is left");
            assert!(std::mem::replace(&mut tier.peers[peer].eligible, false), "{peer} came twice");
        }
        assert_eq!(balancer.pick(&tier, &[]), None);
    }

    #[test]
    fn absent_peers_are_not_in_the_way() {
        let (mut tier, balancer) = many(|_| 1);
        (0..MANY).for_each(|peer| tier.peers[peer].eligible = peer >= 190);
        balancer.availability_changed(&tier);
        (0..20).for_each(|_| _ = start(&mut tier, &balancer));
        assert_eq!(loads(&tier)[190..], [2; 10]);
        tier.peers.iter_mut().for_each(|peer| peer.eligible = true);
        balancer.availability_changed(&tier);
        assert!(start(&mut tier, &balancer).is_some_and(|peer| peer < 190));
    }

    #[test]
    fn one_of_many_that_ramps_up_has_less_weight() {
        let (mut tier, balancer) = many(|_| 1);
        tier.peers[20].ramp = FULL / 4;
        (0..8 * MANY).for_each(|_| _ = start(&mut tier, &balancer));
        assert!((1..=3).contains(&tier.peers[20].in_flight), "{}", tier.peers[20].in_flight);
    }

    #[test]
    fn workers_keep_many_peers_level() {
        let tier = Busy { in_flight: (0..MANY).map(|_| AtomicU32::new(0)).collect(), latency: Latency::default() };
        let (_, balancer) = many(|_| 1);
        let change = |peer: usize, by: u32| {
            tier.in_flight[peer].fetch_add(by, SeqCst);
            balancer.use_changed(peer, &tier.latency, &|| tier.in_flight[peer].load(SeqCst));
        };
        let work = || {
            let mut running: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
            for _ in 0..30_000 {
                if running.len() == MANY {
                    running.pop_front().into_iter().for_each(|peer| change(peer, u32::MAX));
                }
                let peer = balancer.pick(&tier, &[]).expect("all are eligible");
                change(peer, 1);
                running.push_back(peer);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(work);
            }
        });
        let loads: Vec<u32> = tier.in_flight.iter().map(|load| load.load(SeqCst)).collect();
        assert_eq!(loads.iter().sum::<u32>(), 3 * MANY as u32);
        // A pick and what is told of it are two steps, so each worker may be one ahead.
        assert!(loads.iter().all(|load| (1..=6).contains(load)), "{loads:?}");
    }

    /// Peers whose requests several threads count.
    struct Busy {
        in_flight: Box<[AtomicU32]>,
        latency: Latency,
    }

    impl Candidates for Busy {
        fn count(&self) -> usize {
            self.in_flight.len()
        }
        fn eligible(&self, _: usize) -> bool {
            true
        }
        fn in_flight(&self, i: usize) -> u32 {
            self.in_flight[i].load(SeqCst)
        }
        fn latency(&self, _: usize) -> &Latency {
            &self.latency
        }
        fn ramp(&self, _: usize) -> u32 {
            FULL
        }
        fn now(&self) -> Timestamp {
            Timestamp::secs(1)
        }
    }
}
