//! Which peer next?

use super::{Balancer, Candidates, Member};

pub(super) struct Hash;

impl Hash {
    pub(super) fn new(_members: &[Member<'_>]) -> Hash {
        todo!()
    }
}

impl Balancer for Hash {
    fn pick(&self, _peers: &dyn Candidates, _key: &[u8]) -> Option<usize> {
        todo!()
    }
}
