//! Which peers has this request tried already?

use crate::id::PeerId;

/// How many fit without an allocation: four are the default.
const INLINE: usize = 4;

/// What a request remembers between its attempts. By identity, so it holds in every later snapshot.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: [Option<PeerId>; INLINE],
    /// Only with more than four attempts.
    more: Vec<PeerId>,
    count: usize,
    failed_softly: bool,
}

impl Tried {
    /// Nobody yet.
    pub fn new() -> Tried {
        Tried::default()
    }

    /// Remembers a peer.
    pub fn insert(&mut self, peer: PeerId) {
        if self.contains(peer) {
            return;
        }
        match self.first.get_mut(self.count) {
            Some(free) => *free = Some(peer),
            None => self.more.push(peer),
        }
        self.count += 1;
    }

    /// Whether a peer was tried.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.count > 0 && self.iter().any(|tried| tried == peer)
    }

    /// How many were tried.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether this is the first attempt.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An attempt was a soft failure.
    pub fn fail_softly(&mut self) {
        self.failed_softly = true;
    }

    /// Whether an attempt was a soft failure: another one does not count against its peer, since a poison request must
    /// not empty the pool.
    pub fn failed_softly(&self) -> bool {
        self.failed_softly
    }

    /// In the order they were tried.
    pub fn iter(&self) -> impl Iterator<Item = PeerId> {
        self.first.iter().flatten().chain(&self.more).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_counts_once_and_the_order_stays() {
        let peers: Vec<PeerId> = (0..10).map(|_| PeerId::fresh()).collect();
        let mut tried = Tried::new();
        assert!(tried.is_empty());
        peers.iter().chain(&peers).for_each(|&peer| tried.insert(peer));
        assert_eq!(tried.len(), 10);
        assert_eq!(tried.iter().collect::<Vec<_>>(), peers);
        assert!(!tried.contains(PeerId::fresh()));
    }
}
