//! In which order do weighted peers take turns?

use std::collections::{BTreeMap, VecDeque};

/// The longest cycle that is prepared.
pub(super) const MAX_TURNS: u64 = 1 << 16;

/// One period of smooth weighted round robin over `(peer, weight)`, given in the order of the peers: the same turns as
/// nginx's loop, after which it repeats. `None` if it had more than [`MAX_TURNS`] entries.
///
/// Peers of equal weight always take turns in their own order, so each distinct weight is one queue of which only the
/// first can win: a turn costs a look at each distinct weight instead of at each peer.
pub(super) fn turns(peers: &[(u32, u32)]) -> Option<Box<[u32]>> {
    let divisor = peers.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
    let total: u64 = peers.iter().map(|(_, weight)| u64::from(weight / divisor)).sum();
    if total > MAX_TURNS {
        return None;
    }
    let total = total as i64;

    let mut classes: BTreeMap<u32, Class> = BTreeMap::new();
    for (peer, weight) in peers {
        let weight = weight / divisor;
        classes
            .entry(weight)
            .or_insert_with(|| Class { weight: i64::from(weight), queue: VecDeque::new() })
            .push(*peer);
    }
    let mut classes: Vec<Class> = classes.into_values().collect();

    let turn = |turn: i64| {
        // At a tie the earlier peer wins.
        let best = classes.iter_mut().max_by_key(|class| class.claim(turn, total))?;
        best.take()
    };
    (1..=total).map(turn).collect()
}

/// The peers of one weight.
struct Class {
    weight: i64,
    /// Each with how many turns it had.
    queue: VecDeque<(u32, i64)>,
}

impl Class {
    fn push(&mut self, peer: u32) {
        self.queue.push_back((peer, 0));
    }

    /// The current weight of the first in the queue: what it gained in `turn` turns less what its own cost.
    fn claim(&self, turn: i64, total: i64) -> Option<(i64, std::cmp::Reverse<u32>)> {
        let (peer, had) = self.queue.front()?;
        Some((self.weight * turn - total * had, std::cmp::Reverse(*peer)))
    }

    fn take(&mut self) -> Option<u32> {
        let (peer, had) = self.queue.pop_front()?;
        self.queue.push_back((peer, had + 1));
        Some(peer)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// nginx's loop, as written in spec §2.3.
    fn by_nginx(weights: &[u32], count: usize) -> Vec<u32> {
        let mut current = vec![0i64; weights.len()];
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        let turn = |_| {
            let mut best = 0;
            for (peer, weight) in weights.iter().enumerate() {
                current[peer] += i64::from(*weight);
                if current[peer] > current[best] {
                    best = peer;
                }
            }
            current[best] -= total;
            best as u32
        };
        (0..count).map(turn).collect()
    }

    fn peers(weights: &[u32]) -> Vec<(u32, u32)> {
        (0..).zip(weights.iter().copied()).collect()
    }

    fn shown(weights: &[u32]) -> String {
        let turns = turns(&peers(weights)).expect("a short cycle");
        turns.iter().map(|peer| char::from(b'a' + *peer as u8)).collect()
    }

    #[test]
    fn the_order_is_nginxs() {
        let table: [(&[u32], &str); 8] = [
            (&[5, 1, 1], "aabacaa"),
            (&[1, 1, 1], "abc"),
            (&[3, 1], "aaba"),
            (&[2, 1], "aba"),
            (&[3, 2, 1], "abacba"),
            (&[4, 2, 1], "abacaba"),
            (&[10, 1, 1], "aaaabaaacaaa"),
            (&[7], "a"),
        ];
        for (weights, turns) in table {
            assert_eq!(shown(weights), turns, "{weights:?}");
        }
    }

    #[test]
    fn weights_count_only_in_proportion() {
        assert_eq!(shown(&[500, 100, 100]), shown(&[5, 1, 1]));
    }

    #[test]
    fn nobody_has_no_turns() {
        assert_eq!(turns(&[]).as_deref(), Some(&[][..]));
    }

    #[test]
    fn a_cycle_may_have_64_k_turns_and_no_more() {
        assert_eq!(turns(&peers(&[65_535, 1])).map(|turns| turns.len()), Some(65_536));
        assert_eq!(turns(&peers(&[65_536, 1])), None);
        assert_eq!(turns(&peers(&[u32::MAX, u32::MAX - 1])), None);
    }

    proptest! {
        #[test]
        fn a_cycle_equals_nginxs_loop(weights in prop::collection::vec(1u32..40, 1..12)) {
            let turns = turns(&peers(&weights)).expect("at most 12 * 39 turns");
            // Twice, for it must repeat.
            let twice: Vec<u32> = turns.iter().chain(turns.iter()).copied().collect();
            prop_assert_eq!(&twice, &by_nginx(&weights, twice.len()));
        }
    }
}
