//! Which peer next?

use super::{Balancer, Candidates, Member};

pub(super) struct LeastConn;

impl LeastConn {
    pub(super) fn new(_members: &[Member<'_>]) -> LeastConn {
        todo!()
    }
}

impl Balancer for LeastConn {
    fn pick(&self, _peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        todo!()
    }
}
