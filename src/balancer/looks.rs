//! Who was not picked for so long that it is time to look at it again?

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::alone::Alone;
use super::{Candidates, Member};
use crate::clock::Timestamp;

/// How long ago each peer was picked, in picks and in time. When nobody can be due is known in advance, so that most picks
/// ask nobody.
#[derive(Debug)]
pub(super) struct Looks {
    seen: Box<[Seen]>,
    picks: Alone<AtomicU64>,
    /// With which pick a round began in which everybody who comes up is asked.
    round: AtomicU64,
    /// When the first was, in µs.
    first_pick: AtomicU64,
    /// Nobody is due before this pick…
    next_pick: AtomicU64,
    /// … and before this time, in µs.
    next_time: AtomicU64,
    /// From this pick or time (µs) on everybody is to be asked.
    ask_pick: AtomicU64,
    ask_time: AtomicU64,
}

/// What is remembered of a peer between picks.
#[derive(Debug)]
struct Seen {
    /// In µs: after this long without a request it is looked at.
    fail_timeout: u64,
    /// The number of the pick that chose it last.
    last_pick: AtomicU64,
    /// When it was picked last as far as is known here, in µs; clients that are bound to it do not come by.
    last_time: AtomicU64,
    /// When it last got a request for not having had any, in µs.
    last_look: AtomicU64,
}

impl Seen {
    /// When it has been without a request for long, in µs.
    fn old_at(&self) -> u64 {
        self.last_time.load(Relaxed).saturating_add(self.fail_timeout)
    }
}

/// In µs: how much slower than the fastest a peer may seem, and still be looked at for being passed over.
const CHEAP_LOOK: u64 = 100_000;

/// Per peer: how many picks pass one over before it is looked at.
const PICKS_BETWEEN_LOOKS: u64 = 8;

/// Per peer: for how many picks little is known of anybody. An application's first answer is often its slowest.
const NEW: u64 = 32;

/// [`PICKS_BETWEEN_LOOKS`] until then.
const PICKS_BETWEEN_LOOKS_WHEN_NEW: u64 = 2;

/// The most picks per peer until all are asked again.
const ASK_AFTER: u64 = 64;

/// In µs: the most time until all are asked again, if there are picks.
const ASK_AFTER_TIME: u64 = 1_000_000;

/// The fewest picks from a search that met somebody who will be due, but is busy or seems slow, to the next.
const SEARCH_AGAIN_AFTER: u64 = 16;

impl Looks {
    pub(super) fn new(members: &[Member<'_>]) -> Looks {
        let seen = |member: &Member<'_>| Seen {
            fail_timeout: u64::try_from(member.fail_timeout.as_micros()).unwrap_or(u64::MAX),
            last_pick: AtomicU64::new(0),
            last_time: AtomicU64::new(0),
            last_look: AtomicU64::new(0),
        };
        Looks {
            seen: members.iter().map(seen).collect(),
            picks: Alone::default(),
            round: AtomicU64::new(0),
            first_pick: AtomicU64::new(u64::MAX),
            next_pick: AtomicU64::new(0),
            next_time: AtomicU64::new(0),
            ask_pick: AtomicU64::new(0),
            ask_time: AtomicU64::new(0),
        }
    }

    /// How many picks there were before this one.
    pub(super) fn next_pick(&self) -> u64 {
        self.picks.fetch_add(1, Relaxed)
    }

    /// The pick after so many chose this peer.
    pub(super) fn picked(&self, pick: u64, peer: usize, now: Timestamp) {
        if pick == 0 {
            self.first_pick.store(now.as_micros(), Relaxed);
        }
        let seen = &self.seen[peer];
        seen.last_pick.store(pick + 1, Relaxed);
        seen.last_time.store(now.as_micros(), Relaxed);
    }

    /// Whether it is time to search for who is due.
    pub(super) fn search_is_due(&self, pick: u64, now: Timestamp) -> bool {
        pick >= self.next_pick.load(Relaxed) || now.as_micros() >= self.next_time.load(Relaxed)
    }

    /// Whether everybody is to be asked before the search.
    pub(super) fn ask_is_due(&self, pick: u64, now: Timestamp) -> bool {
        pick >= self.ask_pick.load(Relaxed) || now.as_micros() >= self.ask_time.load(Relaxed)
    }

    /// Who is to be asked by this pick, where each asks one at most. Everybody comes up in turn, and is asked once in
    /// [`ASK_AFTER_TIME`], or if it can be due.
    pub(super) fn whom_to_ask(&self, pick: u64, now: Timestamp) -> Option<usize> {
        let peer = pick.checked_rem(self.seen.len() as u64)? as usize;
        (self.is_round(pick, now) || self.may_be_due(peer, pick, now)).then_some(peer)
    }

    /// Whether all that come up are asked.
    fn is_round(&self, pick: u64, now: Timestamp) -> bool {
        // A thread that is a little behind has no part in it.
        let Some(since) = pick.checked_sub(self.round.load(Relaxed)) else { return false };
        let is_over = since >= self.seen.len() as u64;
        if is_over && !self.ask_is_due(pick, now) {
            return false;
        }
        if is_over {
            self.asked(pick, now);
            self.round.store(pick, Relaxed);
        }
        true
    }

    fn may_be_due(&self, peer: usize, pick: u64, now: Timestamp) -> bool {
        let seen = &self.seen[peer];
        pick >= self.passed_over_at(seen, pick) || now.as_micros() >= seen.old_at()
    }

    /// By which pick a peer has been passed over for long.
    fn passed_over_at(&self, seen: &Seen, pick: u64) -> u64 {
        let count = self.seen.len() as u64;
        let patience = count * if pick < count * NEW { PICKS_BETWEEN_LOOKS_WHEN_NEW } else { PICKS_BETWEEN_LOOKS };
        seen.last_pick.load(Relaxed) + patience + 1
    }

    /// Everybody was asked, or is from now on.
    pub(super) fn asked(&self, pick: u64, now: Timestamp) {
        self.ask_pick.store(pick + self.seen.len() as u64 * ASK_AFTER, Relaxed);
        self.ask_time.store(now.as_micros().saturating_add(ASK_AFTER_TIME), Relaxed);
    }

    /// Everything may be different: the next pick searches.
    pub(super) fn search_next(&self) {
        self.next_pick.store(0, Relaxed);
    }

    /// Of these peers an idle one whose averages are too old to go by, if it is its turn to be looked at; and when the next
    /// of them can be due. `fastest` and `expected` are times in µs. Only a peer that could be due is asked anything.
    pub(super) fn search(
        &self,
        pick: u64,
        some: impl Iterator<Item = usize>,
        fastest: u64,
        expected: impl Fn(usize) -> u64,
        peers: &dyn Candidates,
    ) -> Found {
        let count = self.seen.len() as u64;
        let now = peers.now().as_micros();
        let first_pick = Timestamp::micros(self.first_pick.load(Relaxed));
        let again = pick + count.max(SEARCH_AGAIN_AFTER);
        let mut found = Found { due: None, next_pick: u64::MAX, next_time: u64::MAX };
        let mut first = None;
        for peer in some {
            let seen = &self.seen[peer];
            let (passed_over_at, old_at) = (self.passed_over_at(seen, pick), seen.old_at());
            if pick < passed_over_at && now < old_at {
                found.next_pick = found.next_pick.min(passed_over_at);
                found.next_time = found.next_time.min(old_at);
                continue;
            }
            let latency = peers.latency(peer);
            let last_picked = latency.last_picked();
            let last = last_picked.unwrap_or(first_pick).as_micros().max(seen.last_look.load(Relaxed)).min(now);
            seen.last_time.store(last, Relaxed);
            let old_at = last.saturating_add(seen.fail_timeout);
            let passed_over = pick >= passed_over_at && expected(peer) <= fastest + CHEAP_LOOK;
            let old = last < now && (now >= old_at || passed_over);
            let due = old && latency.waiting() == 0 && peers.eligible(peer);
            // Only one is looked at now: if there are others, the next pick searches again.
            found.next_pick = found.next_pick.min(if due && found.due.is_some() { pick } else { again });
            if due && first.is_none_or(|first| last_picked < first) {
                (first, found.due) = (Some(last_picked), Some(peer));
            }
            found.next_time = if now < old_at { found.next_time.min(old_at) } else { found.next_time };
        }
        found
    }

    /// Nobody is due before what a search among all has found.
    pub(super) fn schedule(&self, found: &Found) {
        self.next_pick.store(found.next_pick.min(self.ask_pick.load(Relaxed)), Relaxed);
        self.next_time.store(found.next_time.min(self.ask_time.load(Relaxed)), Relaxed);
    }

    /// Of several workers that notice at once, one looks at a peer.
    pub(super) fn claim(&self, peer: usize, peers: &dyn Candidates) -> bool {
        let last_look = &self.seen[peer].last_look;
        let before = last_look.load(Relaxed);
        let now = peers.now().as_micros();
        let claimed = before < now && last_look.compare_exchange(before, now, Relaxed, Relaxed).is_ok();
        if claimed {
            peers.latency(peer).doubt();
        }
        claimed
    }
}

/// What a search came to.
#[derive(Debug)]
pub(super) struct Found {
    /// Who is due; if several are, the one that was picked longest ago.
    pub due: Option<usize>,
    next_pick: u64,
    /// In µs.
    next_time: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::Tier;
    use super::*;

    #[test]
    fn a_thread_that_is_behind_does_not_begin_a_round_anew() {
        let tier = Tier::weights(&[1; 200]);
        let looks = Looks::new(&tier.members());
        let asked = |pick, now| looks.whom_to_ask(pick, now).is_some();
        let later = tier.now + Duration::from_secs(2);
        (0..200).for_each(|pick| looks.picked(900 + pick, pick as usize, later));
        // The first rounds; then nobody for a second, and everybody once.
        assert!(asked(0, tier.now) && asked(200, tier.now) && !asked(400, tier.now));
        assert!(asked(1_000, later) && !asked(990, later) && asked(1_001, later));
        assert!(asked(1_199, later) && !asked(991, later) && !asked(1_200, later));
        let later = later + Duration::from_secs(2);
        assert!(!asked(999, later) && asked(1_201, later));
    }
}
