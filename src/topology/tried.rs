//! Which peers has this request tried already?

use crate::id::PeerId;

/// What a request remembers between its attempts. By identity, so it holds in every later snapshot.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Few, and for most requests none.
    peers: Vec<PeerId>,
    failed_softly: bool,
}

impl Tried {
    /// Nobody yet.
    pub fn new() -> Tried {
        Tried::default()
    }

    /// Remembers a peer.
    pub fn insert(&mut self, peer: PeerId) {
        if !self.contains(peer) {
            self.peers.push(peer);
        }
    }

    /// Whether a peer was tried.
    #[inline]
    pub fn contains(&self, peer: PeerId) -> bool {
        self.peers.contains(&peer)
    }

    /// How many were tried.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether this is the first attempt.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
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
        self.peers.iter().copied()
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
