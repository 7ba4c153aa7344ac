//! How many of a tier are out, and may one more go?

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
#[derive(Debug)]
pub struct Pool {}

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

impl Pool {
    /// A pool whose tiers may each have `max_ejected` percent of their members ejected for soft failures alone.
    pub fn new(_max_ejected: u8) -> Pool {
        todo!()
    }

    /// A reload changed `max_ejected`. Whoever is out stays out.
    pub fn set_max_ejected(&self, _percent: u8) {
        todo!()
    }

    /// The counts of a tier now.
    pub fn counts(&self, _tier: Tier) -> Counts {
        todo!()
    }
}
