//! Which peer next?

use super::{Balancer, Candidates, Member};

#[derive(Debug)]
pub(super) struct RoundRobin;

impl RoundRobin {
    pub(super) fn new(_members: &[Member<'_>]) -> RoundRobin {
        todo!()
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, _peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        todo!()
    }
}
