//! Which peer next?

use super::{Balancer, Candidates, Measure, Member};

pub(super) struct LeastTime;

impl LeastTime {
    pub(super) fn new(_members: &[Member<'_>], _measure: Measure, _inflight: bool) -> LeastTime {
        todo!()
    }
}

impl Balancer for LeastTime {
    fn pick(&self, _peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        todo!()
    }
}
