//! Whose turn is it? (nginx: `ngx_http_upstream_round_robin.c`)

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cycle::Turns;
use super::order::{Order, Turn};
use super::walk::Place;
use super::{Balancer, Candidates, FULL, Member, cycle};

/// Smooth weighted round robin: a walk, shared by all workers, over a cycle of turns that was prepared for those who
/// take part. Skipping an absent peer in a cycle for all would give its turns to its neighbour, hence a cycle anew
/// whenever availability changes.
#[derive(Debug)]
pub(super) struct RoundRobin {
    weights: Box<[u32]>,
    order: Order,
    /// Who takes part in `order`; held while it is replaced.
    present: Mutex<Box<[bool]>>,
    /// How far each ramping peer is from its next turn.
    ramps: Box<[AtomicU32]>,
    /// Where the search goes on when nobody in the cycle is eligible.
    search_from: AtomicUsize,
}

impl RoundRobin {
    pub(super) fn new(members: &[Member<'_>]) -> RoundRobin {
        let weights: Box<[u32]> = members.iter().map(|member| member.weight.max(1)).collect();
        let present: Box<[bool]> = members.iter().map(|_| true).collect();
        let order = Order::new(weights.iter().map(|weight| u64::from(*weight)).sum());
        order.replace(turns(&weights, &present), Some(Place::START));
        RoundRobin {
            order,
            ramps: weights.iter().map(|_| AtomicU32::new(0)).collect(),
            weights,
            present: Mutex::new(present),
            search_from: AtomicUsize::new(0),
        }
    }

    /// The next turn, out of so many, of a peer that is acceptable. A peer that ramps up lets some of its turns pass; if
    /// that leaves nobody, the first that did is taken after all.
    pub(super) fn walk(&self, turns: usize, peers: &dyn Candidates, accepts: impl Fn(Turn) -> bool) -> Option<usize> {
        let length = self.order.len();
        let mut passed = None;
        for _ in 0..length.min(turns) {
            let Some(turn) = self.order.next(length) else { break };
            if !accepts(turn) {
                continue;
            }
            let peer = turn.peer;
            if self.takes_turn(peer, peers.ramp(peer)) {
                return Some(peer);
            }
            passed = passed.or(Some(peer));
        }
        passed
    }

    /// Whose turn it was that many turns before this one; `None`: that is not remembered.
    pub(super) fn earlier(&self, turn: Turn, by: usize) -> Option<usize> {
        self.order.earlier(turn, by)
    }

    /// Whether [`earlier`](RoundRobin::earlier) turns are remembered. Those of weights without a short cycle are not.
    pub(super) fn remembers(&self) -> bool {
        self.order.remembers()
    }

    /// Thins a ramping peer's turns evenly: at half its weight it takes every other one.
    fn takes_turn(&self, peer: usize, ramp: u32) -> bool {
        if ramp >= FULL {
            return true;
        }
        let before = self.ramps[peer].fetch_add(ramp, Relaxed);
        before.wrapping_add(ramp) / FULL != before / FULL
    }

    /// Looks at all peers once, going on where the last search ended.
    fn search(&self, peers: &dyn Candidates) -> Option<usize> {
        let count = self.weights.len();
        let from = self.search_from.load(Relaxed);
        let found = (from..count).chain(0..from.min(count)).find(|peer| peers.eligible(*peer))?;
        self.search_from.store(found + 1, Relaxed);
        Some(found)
    }

    fn present(&self) -> MutexGuard<'_, Box<[bool]>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many turns of unavailable peers a pick steps over, before it looks at every peer once instead.
const MAX_STEPS: usize = 256;

impl Balancer for RoundRobin {
    fn pick(&self, peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        self.walk(MAX_STEPS, peers, |turn| peers.eligible(turn.peer)).or_else(|| self.search(peers))
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        let mut present = self.present();
        let now_present: Box<[bool]> = (0..self.weights.len()).map(|peer| peers.eligible(peer)).collect();
        if *present != now_present {
            self.order.replace(turns(&self.weights, &now_present), None);
            *present = now_present;
        }
    }

    fn last_turn(&self) -> Option<usize> {
        self.order.place().last.map(|last| last as usize)
    }

    fn resume_after(&self, i: usize) {
        let present = self.present();
        let place = Place::after(u32::try_from(i).ok());
        self.order.replace(turns(&self.weights, &present), Some(place));
    }
}

/// The turns of those who take part.
fn turns(weights: &[u32], present: &[bool]) -> Result<Box<[u32]>, Turns> {
    let taking_part = (0u32..).zip(weights).zip(present).filter(|(_, present)| **present);
    let peers: Vec<(u32, u32)> = taking_part.map(|((peer, weight), _)| (peer, *weight)).collect();
    cycle::turns(&peers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Tier, name};
    use super::*;

    fn over(tier: &Tier) -> RoundRobin {
        RoundRobin::new(&tier.members())
    }

    /// Picks, with who is available changed in between: `"abca"`, then only `"ac"`…
    fn with_changes(weights: &[u32], script: &[(&str, usize)]) -> String {
        let mut tier = Tier::weights(weights);
        let balancer = over(&tier);
        let part = |(available, count): &(&str, usize)| {
            tier.set_eligible(available);
            balancer.availability_changed(&tier);
            tier.picks(&balancer, *count)
        };
        script.iter().map(part).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn weights_are_spread_smoothly() {
        let table: [(&[u32], &str); 7] = [
            (&[5, 1, 1], "aabacaaaabacaa"),
            (&[1, 1, 1], "abcabc"),
            (&[3, 1], "aabaaaba"),
            (&[2, 1], "abaaba"),
            (&[3, 2, 1], "abacbaabacba"),
            (&[4, 2, 1], "abacabaabacaba"),
            (&[10, 1, 1], "aaaabaaacaaaaaaabaaacaaa"),
        ];
        for (weights, picks) in table {
            let tier = Tier::weights(weights);
            assert_eq!(tier.picks(&over(&tier), picks.len()), picks, "{weights:?}");
        }
    }

    #[test]
    fn the_walk_goes_on_after_the_peer_that_was_picked_last() {
        assert_eq!(with_changes(&[1, 1, 1], &[("abc", 4), ("ac", 4)]), "abca|caca");
        assert_eq!(with_changes(&[1, 1, 1], &[("abc", 4), ("bc", 4)]), "abca|bcbc");
        assert_eq!(with_changes(&[1, 1, 1], &[("abc", 3), ("ab", 4)]), "abc|abab");
        assert_eq!(with_changes(&[1, 1, 1], &[("ac", 3), ("abc", 4)]), "aca|bcab");
        assert_eq!(with_changes(&[1, 1, 1, 1, 1], &[("abcde", 3), ("abe", 4)]), "abc|eabe");
    }

    #[test]
    fn a_change_between_two_picks_that_is_undone_changes_nothing() {
        assert_eq!(with_changes(&[1, 1, 1], &[("abc", 2), ("ac", 0), ("abc", 3)]), "ab||cab");
        assert_eq!(with_changes(&[1, 1, 1], &[("abc", 2), ("", 0), ("abc", 3)]), "ab||cab");
        assert_eq!(with_changes(&[5, 1, 1], &[("abc", 3), ("ab", 0), ("abc", 7)]), "aab||acaaaab");
    }

    #[test]
    fn an_absent_peers_share_goes_to_all_in_proportion() {
        let picks = with_changes(&[1, 2, 1, 1], &[("abcd", 5), ("acd", 300)]);
        let count = |name: char| picks[6..].matches(name).count();
        assert_eq!([count('a'), count('b'), count('c'), count('d')], [100, 0, 100, 100]);
    }

    #[test]
    fn a_peer_that_is_just_now_ineligible_is_stepped_over() {
        let tier = Tier::weights(&[1, 1, 1]);
        let balancer = over(&tier);
        assert_eq!(tier.picks(&balancer, 1), "a");
        let tier = tier.only("ac");
        assert_eq!(tier.picks(&balancer, 4), "caca");
    }

    #[test]
    fn a_retry_goes_to_the_next_in_turn() {
        let tier = Tier::weights(&[1, 1, 1]);
        let balancer = over(&tier);
        tier.picks(&balancer, 1);
        assert_eq!(tier.candidates(&balancer, &[]), "bca");
    }

    #[test]
    fn peers_outside_the_cycle_are_found_when_nobody_in_it_is_eligible() {
        let mut tier = Tier::weights(&[1, 1, 1, 1]).only("a");
        let balancer = over(&tier);
        balancer.availability_changed(&tier);
        tier.set_eligible("bd");
        assert_eq!(tier.picks(&balancer, 4), "bdbd");
        tier.set_eligible("");
        assert_eq!(tier.picks(&balancer, 1), "-");
    }

    #[test]
    fn a_heavy_peer_that_is_full_hides_nobody() {
        let tier = Tier::weights(&[60_000, 1, 1]).only("bc");
        let picks = tier.picks(&over(&tier), 4);
        assert_eq!(picks, "bcbc");
    }

    #[test]
    fn a_peer_at_half_its_ramp_gets_half_its_turns() {
        let mut tier = Tier::weights(&[1, 1]);
        tier.peers[0].ramp = FULL / 2;
        assert_eq!(tier.picks(&over(&tier), 9), "babbabbab");
    }

    #[test]
    fn a_ramp_that_just_began_still_leaves_somebody() {
        let mut tier = Tier::weights(&[1, 1]);
        tier.peers.iter_mut().for_each(|peer| peer.ramp = 1);
        assert_eq!(tier.picks(&over(&tier), 2).len(), 2);
        assert!(!tier.picks(&over(&tier), 50).contains('-'));
    }

    #[test]
    fn a_group_that_is_built_anew_goes_on_where_it_was() {
        let tier = Tier::weights(&[1, 1, 1]);
        let old = over(&tier);
        assert_eq!(old.last_turn(), None);
        tier.picks(&old, 2);
        assert_eq!(old.last_turn(), Some(1));
        let new = over(&tier);
        new.resume_after(1);
        assert_eq!(tier.picks(&new, 4), "cabc");
    }

    #[test]
    fn weights_without_a_short_cycle_are_exact_too() {
        let tier = Tier::weights(&[100_003, 50_001]);
        let balancer = over(&tier);
        assert!(balancer.order.len() > 150_004, "it does not repeat");
        assert_eq!(tier.picks(&balancer, 9), "abaabaaba");
        let tier = tier.only("b");
        assert_eq!(tier.picks(&balancer, 2), "bb");
        assert_eq!(tier.only("").picks(&balancer, 1), "-");
    }

    #[test]
    fn workers_share_one_order() {
        let tier = Tier::weights(&[5, 1, 1]);
        let balancer = over(&tier);
        let work = || (0..7_000).map(|_| name(balancer.pick(&tier, &[]))).collect::<String>();
        let all = std::thread::scope(|scope| {
            let workers = [scope.spawn(work), scope.spawn(work)];
            workers.map(|worker| worker.join().expect("a pick does not panic")).concat()
        });
        let count = |name: char| all.matches(name).count();
        assert_eq!([count('a'), count('b'), count('c')], [10_000, 2_000, 2_000]);
    }

    proptest! {
        #[test]
        fn whoever_takes_part_gets_the_order_of_their_weights(
            weights in prop::collection::vec(1u32..9, 2..7),
            absent in any::<u8>(),
        ) {
            let names: String = ('a'..).take(weights.len()).enumerate()
                .filter(|(i, _)| absent >> i & 1 == 0).map(|(_, name)| name).collect();
            let tier = Tier::weights(&weights).only(&names);
            let balancer = over(&tier);
            balancer.availability_changed(&tier);
            let total: u32 = weights.iter().enumerate().filter(|(i, _)| absent >> i & 1 == 0).map(|(_, w)| *w).sum();
            let picks = tier.picks(&balancer, total as usize);
            for (weight, name) in weights.iter().zip('a'..) {
                let turns = if names.contains(name) { *weight as usize } else { 0 };
                prop_assert_eq!(picks.matches(name).count(), turns);
            }
        }
    }
}
