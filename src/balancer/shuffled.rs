//! How are neighbours in memory a draw without meaning? By an order in which they are shuffled once.

use super::{Balancer, Candidates, Latency, Member};
use crate::clock::Timestamp;

/// A balancer that knows its peers by their places in a shuffled order, so that what it keeps of some that come one after
/// the other lies on few lines.
#[derive(Debug)]
pub(super) struct Shuffled<B> {
    balancer: B,
    /// Who has which place.
    order: Box<[u32]>,
    /// Where everybody is.
    places: Box<[u32]>,
}

impl<B> Shuffled<B> {
    pub(super) fn new(members: &[Member<'_>], build: impl FnOnce(&[Member<'_>]) -> B) -> Shuffled<B> {
        let order = shuffled(members.len());
        let mut places: Box<[u32]> = order.clone();
        (0..).zip(&order).for_each(|(place, peer)| places[*peer as usize] = place);
        let members: Vec<Member<'_>> = order.iter().map(|peer| members[*peer as usize]).collect();
        Shuffled { balancer: build(&members), order, places }
    }

    fn view<'a>(&'a self, peers: &'a dyn Candidates) -> View<'a> {
        View { peers, order: &self.order }
    }
}

impl<B: Balancer> Balancer for Shuffled<B> {
    fn pick(&self, peers: &dyn Candidates, key: &[u8]) -> Option<usize> {
        self.balancer.pick(&self.view(peers), key).map(|place| self.order[place] as usize)
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.balancer.availability_changed(&self.view(peers));
    }

    fn watches_use(&self) -> bool {
        self.balancer.watches_use()
    }

    fn watches_heads(&self) -> bool {
        self.balancer.watches_heads()
    }

    fn use_changed(&self, peer: usize, latency: &Latency, in_flight: &dyn Fn() -> u32) {
        self.balancer.use_changed(self.places[peer] as usize, latency, in_flight);
    }
}

/// The peers by their places.
struct View<'a> {
    peers: &'a dyn Candidates,
    order: &'a [u32],
}

impl View<'_> {
    fn peer(&self, place: usize) -> usize {
        self.order[place] as usize
    }
}

impl Candidates for View<'_> {
    fn count(&self) -> usize {
        self.peers.count()
    }
    fn eligible(&self, i: usize) -> bool {
        self.peers.eligible(self.peer(i))
    }
    fn in_flight(&self, i: usize) -> u32 {
        self.peers.in_flight(self.peer(i))
    }
    fn latency(&self, i: usize) -> &Latency {
        self.peers.latency(self.peer(i))
    }
    fn ramp(&self, i: usize) -> u32 {
        self.peers.ramp(self.peer(i))
    }
    fn now(&self) -> Timestamp {
        self.peers.now()
    }
}

/// An order that looks random and is always the same. (Fisher and Yates; Knuth's MMIX generator.)
fn shuffled(count: usize) -> Box<[u32]> {
    let mut order: Box<[u32]> = (0..count).filter_map(|peer| u32::try_from(peer).ok()).collect();
    let mut random = 1u64;
    for last in (1..order.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, ((u128::from(random) * (last as u128 + 1)) >> 64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::super::testing::Tier;
    use super::*;

    #[test]
    fn everybody_has_a_place() {
        let mut order = shuffled(1_000);
        assert_ne!(*order, *(0..1_000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(*order, *(0..1_000).collect::<Vec<_>>());
    }

    /// Picks places in turn, and keeps the weights of its members and of whom it was told.
    struct InTurn {
        weights: Vec<u32>,
        turn: AtomicUsize,
        told: AtomicUsize,
    }

    impl Balancer for InTurn {
        fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
            let place = self.turn.fetch_add(1, Relaxed);
            assert_eq!(peers.in_flight(place), self.weights[place]);
            Some(place)
        }

        fn use_changed(&self, place: usize, _latency: &Latency, _in_flight: &dyn Fn() -> u32) {
            self.told.store(self.weights[place] as usize, Relaxed);
        }
    }

    #[test]
    fn whoever_is_picked_asked_or_told_of_is_the_same() {
        let weights: Vec<u32> = (0..100).collect();
        let mut tier = Tier::weights(&weights);
        tier.peers.iter_mut().for_each(|peer| peer.in_flight = peer.weight);
        let in_turn = |members: &[Member<'_>]| InTurn {
            weights: members.iter().map(|member| member.weight).collect(),
            turn: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
        };
        let balancer = Shuffled::new(&tier.members(), in_turn);
        for place in 0..100 {
            let picked = balancer.pick(&tier, &[]).expect("there are a hundred");
            assert_eq!(tier.peers[picked].weight, balancer.balancer.weights[place]);
            tier.tell(&balancer, picked);
            assert_eq!(balancer.balancer.told.load(Relaxed), picked);
        }
    }
}
