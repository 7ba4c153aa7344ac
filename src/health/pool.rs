//! How many of a tier are out, and may one more go?

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which tier of its group a peer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Asked first.
    Primary,
    /// Asked when no primary serves.
    Backup,
}

/// What a decision about one peer must know of the others of its group. One for each group, shared by its cells, which
/// keep the counts themselves.
///
/// The counts are exact under concurrent failures: a cell replaces what it contributed by what it contributes now, and
/// learns whether the cap allows that, in one critical section. It does so under its own lock, and never holds the
/// locks of two pools; so there is one order of locks, cell before pool. Nobody takes them on the path of a success.
#[derive(Debug)]
pub struct Pool {
    tally: Mutex<Tally>,
}

/// What is counted of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Peers that are neither down nor draining nor gone: the cap's `n`.
    pub members: u32,
    /// Peers that are up, kept ones among them.
    pub up: u32,
    /// Peers shown unavailable for soft failures alone.
    pub ejected: u32,
}

#[derive(Debug)]
struct Tally {
    max_ejected: u8,
    primaries: Counts,
    backups: Counts,
}

/// What one peer contributes to the counts of its tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    pub(super) member: bool,
    pub(super) up: bool,
    pub(super) ejected: bool,
}

impl Pool {
    /// A pool whose tiers may each have `max_ejected` percent of their members ejected for soft failures alone.
    pub fn new(max_ejected: u8) -> Pool {
        let tally = Tally { max_ejected, primaries: Counts::default(), backups: Counts::default() };
        Pool { tally: Mutex::new(tally) }
    }

    /// A reload changed `max_ejected`. Whoever is out stays out.
    pub fn set_max_ejected(&self, percent: u8) {
        self.lock().max_ejected = percent;
    }

    /// The share of a tier that soft failures may eject, in percent.
    pub fn max_ejected(&self) -> u8 {
        self.lock().max_ejected
    }

    /// The counts of a tier now.
    pub fn counts(&self, tier: Tier) -> Counts {
        *self.lock().of(tier)
    }

    /// Whether the group has one peer only, as far as it has any.
    pub(super) fn has_only_one(&self) -> bool {
        let tally = self.lock();
        tally.primaries.members + tally.backups.members <= 1
    }

    /// Replaces what a peer contributed, unless that ejects one more than the cap allows: then nothing changes, and
    /// the answer is `false`.
    pub(super) fn try_replace(&self, tier: Tier, before: Footprint, after: Footprint) -> bool {
        let mut tally = self.lock();
        let mut counts = *tally.of(tier);
        counts.replace(before, after);
        let uncapped = tier == Tier::Primary && tally.backups.up > 0;
        let room = u64::from(counts.members) * u64::from(tally.max_ejected) / 100;
        let ejects = after.ejected && !before.ejected;
        let allowed = !ejects || uncapped || u64::from(counts.ejected) <= room;
        if allowed {
            *tally.of(tier) = counts;
        }
        allowed
    }

    /// Replaces what a peer contributed, whatever the cap says.
    pub(super) fn replace(&self, tier: Tier, before: Footprint, after: Footprint) {
        self.lock().of(tier).replace(before, after);
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        // The counts are replaced whole, so a panic elsewhere leaves nothing half done.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn of(&mut self, tier: Tier) -> &mut Counts {
        match tier {
            Tier::Primary => &mut self.primaries,
            Tier::Backup => &mut self.backups,
        }
    }
}

impl Counts {
    fn replace(&mut self, before: Footprint, after: Footprint) {
        let moved = |count: u32, before: bool, after: bool| count + u32::from(after) - u32::from(before);
        self.members = moved(self.members, before.member, after.member);
        self.up = moved(self.up, before.up, after.up);
        self.ejected = moved(self.ejected, before.ejected, after.ejected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Footprint = Footprint { member: false, up: false, ejected: false };
    const UP: Footprint = Footprint { member: true, up: true, ejected: false };
    const EJECTED: Footprint = Footprint { member: true, up: false, ejected: true };

    fn of(n: u32, max_ejected: u8) -> Pool {
        let pool = Pool::new(max_ejected);
        (0..n).for_each(|_| pool.replace(Tier::Primary, OUT, UP));
        pool
    }

    /// How many of `n` can be ejected, one after the other.
    fn ejectable(n: u32, max_ejected: u8) -> usize {
        let pool = of(n, max_ejected);
        (0..n).filter(|_| pool.try_replace(Tier::Primary, UP, EJECTED)).count()
    }

    #[test]
    fn the_cap_is_the_floor_of_the_share_of_the_tier() {
        let table = [(1, 50, 0), (2, 50, 1), (3, 50, 1), (4, 50, 2), (10, 50, 5), (10, 34, 3), (3, 100, 3), (3, 0, 0)];
        for (n, percent, out) in table {
            assert_eq!(ejectable(n, percent), out, "{percent}% of {n}");
        }
    }

    #[test]
    fn a_peer_that_comes_back_makes_room_for_another() {
        let pool = of(2, 50);
        assert!(pool.try_replace(Tier::Primary, UP, EJECTED));
        assert!(!pool.try_replace(Tier::Primary, UP, EJECTED));
        pool.replace(Tier::Primary, EJECTED, UP);
        assert!(pool.try_replace(Tier::Primary, UP, EJECTED));
    }

    #[test]
    fn a_backup_that_is_up_lifts_the_cap_of_the_primaries_but_not_of_the_backups() {
        let pool = of(2, 50);
        pool.replace(Tier::Backup, OUT, UP);
        assert!(pool.try_replace(Tier::Primary, UP, EJECTED));
        assert!(pool.try_replace(Tier::Primary, UP, EJECTED));
        assert!(!pool.try_replace(Tier::Backup, UP, EJECTED));
    }

    #[test]
    fn a_refused_ejection_changes_no_count() {
        let pool = of(1, 50);
        let before = pool.counts(Tier::Primary);
        assert!(!pool.try_replace(Tier::Primary, UP, EJECTED));
        assert_eq!(pool.counts(Tier::Primary), before);
    }
}
