//! In which order do weighted peers take turns?

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// The longest cycle that is prepared.
pub(super) const MAX_TURNS: u64 = 1 << 16;

/// One period of smooth weighted round robin over `(peer, weight)`, given in the order of the peers: the same turns as
/// nginx's loop, after which it repeats. `Err`: it had more than [`MAX_TURNS`] entries, here they come one by one.
pub(super) fn turns(peers: &[(u32, u32)]) -> Result<Box<[u32]>, Turns> {
    let turns = Turns::new(peers);
    match usize::try_from(turns.total) {
        Ok(total) if turns.total <= MAX_TURNS => Ok(turns.take(total).collect()),
        _ => Err(turns),
    }
}

/// The turns without end.
///
/// Peers of equal weight always take turns in their own order, so each distinct weight is one queue of which only the
/// first can win: a turn costs a look at each distinct weight instead of at each peer.
#[derive(Debug)]
pub(super) struct Turns {
    classes: Box<[Class]>,
    /// The length of a period.
    total: u64,
    /// How many there were; it may wrap around, since all that is made of it does.
    turn: u64,
}

impl Turns {
    fn new(peers: &[(u32, u32)]) -> Turns {
        let divisor = peers.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
        let mut classes: BTreeMap<u32, Class> = BTreeMap::new();
        for (peer, weight) in peers {
            let weight = weight / divisor;
            classes
                .entry(weight)
                .or_insert_with(|| Class { weight: u64::from(weight), queue: VecDeque::new() })
                .push(*peer);
        }
        let total = peers.iter().map(|(_, weight)| u64::from(weight / divisor)).sum();
        Turns { classes: classes.into_values().collect(), total, turn: 0 }
    }

    /// What a turn costs.
    pub(super) fn distinct_weights(&self) -> usize {
        self.classes.len()
    }
}

impl Iterator for Turns {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.turn = self.turn.wrapping_add(1);
        let (turn, total) = (self.turn, self.total);
        // At a tie the earlier peer wins.
        self.classes.iter_mut().max_by_key(|class| class.claim(turn, total))?.take()
    }
}

/// The peers of one weight.
#[derive(Debug)]
struct Class {
    weight: u64,
    /// Each with how many turns it had.
    queue: VecDeque<(u32, u64)>,
}

impl Class {
    fn push(&mut self, peer: u32) {
        self.queue.push_back((peer, 0));
    }

    /// The current weight of the first in the queue: what it gained in `turn` turns less what its own cost. Both grow
    /// for ever, but they differ by less than `total`, so modulo 2^64 is enough.
    fn claim(&self, turn: u64, total: u64) -> Option<(i64, Reverse<u32>)> {
        let (peer, had) = self.queue.front()?;
        let current = self.weight.wrapping_mul(turn).wrapping_sub(total.wrapping_mul(*had));
        Some((current as i64, Reverse(*peer)))
    }

    fn take(&mut self) -> Option<u32> {
        let (peer, had) = self.queue.pop_front()?;
        self.queue.push_back((peer, had.wrapping_add(1)));
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
        assert_eq!(turns(&[]).expect("an empty cycle"), [].into());
        assert_eq!(Turns::new(&[]).next(), None);
    }

    #[test]
    fn a_cycle_may_have_64_k_turns_and_no_more() {
        assert_eq!(turns(&peers(&[65_535, 1])).map(|turns| turns.len()).ok(), Some(65_536));
        assert!(turns(&peers(&[65_536, 1])).is_err());
        assert!(turns(&peers(&[u32::MAX, u32::MAX - 1])).is_err());
    }

    #[test]
    fn turns_without_a_short_cycle_are_nginxs_too() {
        for weights in [&[100_003, 50_001, 50_001][..], &[u32::MAX, u32::MAX - 1, 7], &[99_991, 65_537]] {
            let turns: Vec<u32> = turns(&peers(weights)).expect_err("a long cycle").take(1_000).collect();
            assert_eq!(turns, by_nginx(weights, 1_000), "{weights:?}");
        }
    }

    #[test]
    fn turns_go_on_when_their_number_wraps_around() {
        let mut turns = Turns::new(&peers(&[3, 1]));
        // As many whole periods as there were turns.
        let periods = u64::MAX / 4;
        turns.turn = periods.wrapping_mul(4);
        for class in &mut turns.classes {
            class.queue.iter_mut().for_each(|(_, had)| *had = periods.wrapping_mul(class.weight));
        }
        assert_eq!(turns.take(12).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0]);
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
