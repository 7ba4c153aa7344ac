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
