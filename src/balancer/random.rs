//! Which peer next?

use super::{Balancer, Candidates, Member, Two};

pub(super) struct Random;

impl Random {
    pub(super) fn new(_members: &[Member<'_>], _two: Option<Two>, _seed: u64) -> Random {
        todo!()
    }
}

impl Balancer for Random {
    fn pick(&self, _peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        todo!()
    }
}
