//! Which peer next?

use super::{Balancer, Candidates, Member};

pub(super) struct Ketama;

impl Ketama {
    pub(super) fn new(_members: &[Member<'_>]) -> Ketama {
        todo!()
    }
}

impl Balancer for Ketama {
    fn pick(&self, _peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        todo!()
    }
}
