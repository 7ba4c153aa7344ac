//! Who of many has least to do? Turns by weight, and what is known of who is how busy.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::alone::Alone;
use super::levels::{IDLE, Level, Levels};
use super::order::Turn;
use super::round_robin::RoundRobin;
use super::{Balancer, Candidates, FULL, Member};

/// For more peers than are compared at each pick. As long as the least busy are many, as they are when all are idle, they take
/// turns by weight. When they are few, the index knows them, and they take turns in their own order.
///
/// The index never believes that a peer is busier than it is, so its first one that is no busier than believed is the least
/// busy. That a peer became less busy it is told at once. That it became busier it finds out [`LAG`] turns later, if that is
/// still so: a request that is over by then has written to no word that all workers read.
///
/// That is as exact as [`Levels`] are: loads that differ by less than a request of the heaviest peer, or an eighth,
/// count as level. Requests that are given away at the same moment do not see each other.
#[derive(Debug)]
pub(super) struct Index {
    levels: Levels,
    rotation: RoundRobin,
    /// Whom the last search has found: the next one goes on after him.
    last_found: Alone<AtomicUsize>,
}

/// How many turns may go to peers that are busier, before the index is asked.
const TURNS: usize = 4;

/// After how many turns a peer is looked at again. When nobody is left at a level, one pick has to find that out of so many.
const LAG: usize = 256;

/// How many peers in the index may be in vain before all are compared.
const MAX_STEPS: usize = 2 * LAG;

/// How many peers that cannot be picked a search steps over. Those after them are full rather than tried by this very
/// request, and leave the index until they have room.
const PATIENCE: usize = 4;

impl Index {
    pub(super) fn new(members: &[Member<'_>]) -> Index {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let levels = Levels::new(&weights);
        for peer in 0..weights.len() {
            levels.set_present(peer, true);
            levels.update(peer, || Some(0));
        }
        let last_found = Alone(AtomicUsize::new(weights.len().saturating_sub(1)));
        Index { levels, rotation: RoundRobin::new(members), last_found }
    }

    pub(super) fn pick(&self, peers: &dyn Candidates) -> Option<usize> {
        let lowest = self.levels.lowest()?;
        // By and by this comes to everybody, so what the index was not told is put right here.
        let acceptable = |turn: Turn| {
            self.rotation.earlier(turn, LAG).into_iter().for_each(|peer| self.look_back_at(peer, peers));
            peers.eligible(turn.peer) && self.look_at(turn.peer, peers) <= lowest
        };
        self.rotation.walk(TURNS, peers, acceptable).or_else(|| self.search(peers))
    }

    fn search(&self, peers: &dyn Candidates) -> Option<usize> {
        let last = self.last_found.load(Relaxed);
        self.look_back_at(last, peers);
        let mut passed = 0;
        for (level, peer) in self.levels.ascending((last + 1) % peers.count()).take(MAX_STEPS) {
            if peers.eligible(peer) {
                if self.look_at(peer, peers) <= level {
                    self.last_found.store(peer, Relaxed);
                    return Some(peer);
                }
            } else if passed >= PATIENCE {
                self.levels.update(peer, || peers.eligible(peer).then(|| self.level(peer, peers)));
            } else {
                passed += 1;
            }
        }
        None
    }

    /// A peer was picked a while ago: has it become busier?
    fn look_back_at(&self, peer: usize, peers: &dyn Candidates) {
        let level = self.level(peer, peers);
        if level > IDLE && self.levels.has_within(peer, level - 1) {
            self.levels.update(peer, || Some(self.level(peer, peers)));
        }
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
        match peers.in_flight(peer) {
            0 => IDLE,
            in_flight => self.levels.level(peer, in_flight, peers.ramp(peer)),
        }
    }

    pub(super) fn availability_changed(&self, peers: &dyn Candidates) {
        self.rotation.availability_changed(peers);
        for peer in 0..peers.count() {
            if self.levels.set_present(peer, peers.eligible(peer)) {
                self.levels.update(peer, || Some(self.level(peer, peers)));
            } else {
                self.look_at(peer, peers);
            }
        }
    }

    pub(super) fn in_flight_changed(&self, peer: usize, in_flight: &dyn Fn() -> u32) {
        // How far it ramps up is not known here; whoever picks it next sees that.
        let level = || self.levels.level(peer, in_flight(), FULL);
        if !(self.rotation.remembers() && self.levels.has_within(peer, level())) {
            self.levels.update(peer, || Some(level()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::super::Latency;
    use super::super::testing::Tier;
    use super::*;
    use crate::clock::Timestamp;

    const MANY: usize = 200;

    fn many(weight: fn(usize) -> u32) -> (Tier, Index) {
        let tier = Tier::weights(&(0..MANY).map(weight).collect::<Vec<_>>());
        let index = Index::new(&tier.members());
        index.availability_changed(&tier);
        (tier, index)
    }

    /// Sets what a peer has to do, and tells.
    fn set(tier: &mut Tier, index: &Index, peer: usize, in_flight: u32) {
        tier.peers[peer].in_flight = in_flight;
        index.in_flight_changed(peer, &|| in_flight);
    }

    /// A request that lasts.
    fn start(tier: &mut Tier, index: &Index) -> Option<usize> {
        let peer = index.pick(tier)?;
        let in_flight = tier.peers[peer].in_flight + 1;
        set(tier, index, peer, in_flight);
        Some(peer)
    }

    fn loads(tier: &Tier) -> Vec<u32> {
        tier.peers.iter().map(|peer| peer.in_flight).collect()
    }

    #[test]
    fn many_idle_peers_take_turns_by_weight_too() {
        let (tier, index) = many(|peer| peer as u32 % 3 + 1);
        let rotation = RoundRobin::new(&tier.members());
        for _ in 0..3 * MANY {
            assert_eq!(index.pick(&tier), rotation.pick(&tier, &[]));
        }
    }

    #[test]
    fn many_peers_are_filled_level_by_level() {
        let (mut tier, index) = many(|_| 1);
        for level in 1..=5 {
            (0..MANY).for_each(|_| _ = start(&mut tier, &index));
            assert_eq!(loads(&tier), [level; MANY]);
        }
    }

    #[test]
    fn many_peers_are_filled_by_weight() {
        let weight: fn(usize) -> u32 = |peer| peer as u32 % 5 + 1;
        let (mut tier, index) = many(weight);
        let total: u32 = (0..MANY).map(weight).sum();
        (0..3 * total).for_each(|_| _ = start(&mut tier, &index));
        for (peer, load) in loads(&tier).into_iter().enumerate() {
            assert!(load.abs_diff(3 * weight(peer)) <= 1, "{load} at weight {}", weight(peer));
        }
    }

    #[test]
    fn the_one_that_became_less_busy_is_next() {
        let (mut tier, index) = many(|_| 1);
        (0..3 * MANY).for_each(|_| _ = start(&mut tier, &index));
        for free in [7, 199, 0, 120] {
            set(&mut tier, &index, free, 2);
            assert_eq!(start(&mut tier, &index), Some(free));
        }
    }

    #[test]
    fn few_that_are_level_take_turns_in_their_order() {
        let (mut tier, index) = many(|_| 1);
        (0..MANY).filter(|peer| peer % 50 != 9).for_each(|peer| set(&mut tier, &index, peer, 1));
        // Now and then the rotation comes by and takes one out of turn.
        let mut had = [0; MANY];
        (0..100).filter_map(|_| index.pick(&tier)).for_each(|peer| had[peer] += 1);
        for peer in [9, 59, 109, 159] {
            assert!((20..=30).contains(&had[peer]), "{peer} had {} of 100 where 25 were due", had[peer]);
        }
    }

    #[test]
    fn what_the_index_was_not_told_it_finds_out() {
        let (mut tier, index) = many(|_| 1);
        (0..MANY).for_each(|peer| set(&mut tier, &index, peer, 3));
        tier.peers[50].in_flight = 0;
        assert!((0..=MANY / TURNS).any(|_| index.pick(&tier) == Some(50)));
        tier.peers.iter_mut().for_each(|peer| peer.in_flight = 9);
        tier.peers[150].in_flight = 8;
        assert!((0..=MANY).any(|_| index.pick(&tier) == Some(150)));
    }

    #[test]
    fn full_peers_are_stepped_over_until_they_have_room() {
        let (mut tier, index) = many(|_| 1);
        for peer in 0..MANY {
            let full = peer < MANY - 2;
            tier.peers[peer].eligible = !full;
            set(&mut tier, &index, peer, if full { 1 } else { 5 });
        }
        for _ in 0..10 {
            assert!(index.pick(&tier) >= Some(MANY - 2));
        }
        tier.peers[33].eligible = true;
        set(&mut tier, &index, 33, 0);
        assert_eq!(index.pick(&tier), Some(33));
    }

    #[test]
    fn absent_peers_are_not_in_the_way() {
        let (mut tier, index) = many(|_| 1);
        (0..MANY).for_each(|peer| tier.peers[peer].eligible = peer >= 190);
        index.availability_changed(&tier);
        (0..20).for_each(|_| _ = start(&mut tier, &index));
        assert_eq!(loads(&tier)[190..], [2; 10]);
        tier.peers.iter_mut().for_each(|peer| peer.eligible = true);
        index.availability_changed(&tier);
        assert!(start(&mut tier, &index).is_some_and(|peer| peer < 190));
    }

    #[test]
    fn one_of_many_that_ramps_up_has_less_weight() {
        let (mut tier, index) = many(|_| 1);
        tier.peers[20].ramp = FULL / 4;
        (0..8 * MANY).for_each(|_| _ = start(&mut tier, &index));
        assert!((1..=3).contains(&tier.peers[20].in_flight), "{}", tier.peers[20].in_flight);
    }

    #[test]
    fn workers_keep_many_peers_level() {
        let tier = Busy { in_flight: (0..MANY).map(|_| AtomicU32::new(0)).collect(), latency: Latency::default() };
        let (_, index) = many(|_| 1);
        let change = |peer: usize, by: u32| {
            tier.in_flight[peer].fetch_add(by, SeqCst);
            index.in_flight_changed(peer, &|| tier.in_flight[peer].load(SeqCst));
        };
        let work = || {
            let mut running: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
            for _ in 0..30_000 {
                if running.len() == MANY {
                    running.pop_front().into_iter().for_each(|peer| change(peer, u32::MAX));
                }
                // While another worker moves a peer, it may be overlooked.
                let mut picks = std::iter::repeat_with(|| index.pick(&tier)).flatten();
                let peer = picks.next().expect("all are eligible");
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
        let told = standing(&index);
        assert_eq!(told.len(), MANY, "nobody is lost");
        assert!(told.iter().all(|(level, peer)| *level <= loads[*peer]), "{told:?} but {loads:?}");
        (0..MANY).for_each(|peer| (0..loads[peer]).for_each(|_| change(peer, u32::MAX)));
        assert!(standing(&index).into_iter().eq((0..MANY).map(|peer| (IDLE, peer))));
    }

    /// Where the index believes everybody to be.
    fn standing(index: &Index) -> Vec<(Level, usize)> {
        index.levels.ascending(0).collect()
    }

    #[test]
    fn the_index_hears_of_a_request_when_it_has_lasted_and_when_it_ends() {
        let mut tier = Tier::weights(&[1; 2 * LAG]);
        let index = Index::new(&tier.members());
        let busy = || standing(&index).into_iter().filter(|(level, _)| *level > IDLE).collect::<Vec<_>>();
        assert_eq!([start(&mut tier, &index), start(&mut tier, &index)], [Some(0), Some(1)]);
        set(&mut tier, &index, 1, 0);
        assert!((2..LAG).all(|peer| index.pick(&tier) == Some(peer) && busy().is_empty()));
        assert!((LAG..LAG + 2).all(|peer| index.pick(&tier) == Some(peer) && busy() == [(1, 0)]));
        set(&mut tier, &index, 0, 0);
        assert!(busy().is_empty());
    }

    #[test]
    fn where_turns_are_not_remembered_the_index_hears_of_all_requests() {
        let (mut tier, index) = many(|peer| if peer % 2 == 0 { 99_991 } else { 65_537 });
        let picked = start(&mut tier, &index);
        assert!(standing(&index).iter().any(|(level, peer)| *level == 1 && Some(*peer) == picked));
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
