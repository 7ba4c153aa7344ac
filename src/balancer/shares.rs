//! Whose share of the total weight does a number fall into?

use super::Member;

/// The weights of a tier laid end to end. Absent peers keep their shares, so that nobody else's numbers move.
#[derive(Debug)]
pub(super) struct Shares {
    /// Where each peer's share ends.
    ends: Box<[u64]>,
}

impl Shares {
    pub(super) fn new(members: &[Member<'_>]) -> Shares {
        let ends = members.iter().scan(0u64, |end, member| {
            *end += u64::from(member.weight.max(1));
            Some(*end)
        });
        Shares { ends: ends.collect() }
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The sum of all weights; zero if there is no peer.
    pub(super) fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The peer whose share contains `number`, which must be below the total.
    pub(super) fn owner(&self, number: u64) -> usize {
        self.ends.partition_point(|end| *end <= number)
    }
}
