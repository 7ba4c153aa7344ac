//! Who is expected to answer soonest, of those that are offered one after the other?

use super::capacity::OUT;
use super::scores::TURN;
use super::speed::Speed;

/// The lowest expected time per weight so far: steps times load; of those that are level the one whose turn it is.
pub(super) struct Best {
    fastest: Speed,
    level_below: Speed,
    /// Of those nearly as fast as the fastest, the lowest load and turn, in one word. Their times are equal, so their
    /// loads are compared as they are.
    level: u64,
    level_peer: usize,
    /// Of the others, the lowest cost, and turn.
    other: (u64, u64),
    other_peer: usize,
}

impl Best {
    /// Nobody yet. The fastest is who takes part and is fastest, offered or not.
    pub(super) fn than(fastest: Speed) -> Best {
        Best {
            fastest,
            level_below: fastest.level_below(),
            level: u64::from(OUT) << 32,
            level_peer: usize::MAX,
            other: (u64::MAX, 0),
            other_peer: usize::MAX,
        }
    }

    /// Whether a peer with this load may be the best. Most peers need not be asked for their speed: nobody takes fewer
    /// steps than the fastest, so who has no less to do than one that is nearly as fast cannot be better.
    #[inline(always)]
    pub(super) fn may_be(&self, load: u64) -> bool {
        load < self.level
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, peer: usize, load: u64, speed: impl FnOnce() -> Speed) {
        if self.may_be(load) {
            self.consider(peer, load, speed());
        }
    }

    fn consider(&mut self, peer: usize, load: u64, speed: Speed) {
        let is_level = speed < self.level_below;
        if is_level && speed.unfinished() == 0 {
            (self.level, self.level_peer) = (load, peer);
            return;
        }
        let steps = if is_level { speed.unfinished() } else { speed.steps().max(speed.unfinished()) };
        let cost = (steps.max(self.fastest.steps()) * (load >> 32), load & TURN);
        if cost < self.other {
            (self.other, self.other_peer) = (cost, peer);
        }
    }

    pub(super) fn peer(self) -> Option<usize> {
        let level = (self.fastest.steps() * (self.level >> 32), self.level & TURN);
        let (other, level) = ((self.other, self.other_peer), (level, self.level_peer));
        let (_, best) = if level.1 == usize::MAX { other } else { level.min(other) };
        (best != usize::MAX).then_some(best)
    }
}
