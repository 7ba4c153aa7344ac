//! Which peer for this client? (nginx: `ngx_http_upstream_ip_hash_module.c`)

use std::net::IpAddr;
use std::ops::Deref;

use super::round_robin::RoundRobin;
use super::shares::Shares;
use super::{Balancer, Candidates, MAX_REJECTIONS, Member};

/// What `ip_hash` knows of a client: three bytes of an IPv4 address, all sixteen of an IPv6 address, as a byte slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHashKey {
    bytes: [u8; 16],
    len: u8,
}

/// The key of `ip_hash` for a client's address. (spec §4.2; an IPv4-mapped address is IPv6 here, as in nginx.)
pub fn ip_hash_key(addr: IpAddr) -> IpHashKey {
    match addr {
        IpAddr::V4(addr) => {
            let mut bytes = [0; 16];
            bytes[..3].copy_from_slice(&addr.octets()[..3]);
            IpHashKey { bytes, len: 3 }
        }
        IpAddr::V6(addr) => IpHashKey { bytes: addr.octets(), len: 16 },
    }
}

impl Deref for IpHashKey {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A client's peer by its address. Absent peers keep their places, so that nobody else's clients move.
#[derive(Debug)]
pub(super) struct IpHash {
    shares: Shares,
    otherwise: RoundRobin,
}

impl IpHash {
    pub(super) fn new(members: &[Member<'_>]) -> IpHash {
        IpHash { shares: Shares::new(members), otherwise: RoundRobin::new(members) }
    }
}

impl Balancer for IpHash {
    fn pick(&self, peers: &dyn Candidates, key: &[u8]) -> Option<usize> {
        if key.is_empty() || self.shares.count() < 2 {
            return self.otherwise.pick(peers, &[]);
        }
        let mut hash = 89;
        let mut next = || {
            hash = key.iter().fold(hash, |hash, byte| (hash * 113 + u64::from(*byte)) % 6271);
            self.shares.owner(hash % self.shares.total())
        };
        (0..=MAX_REJECTIONS)
            .map(|_| next())
            .find(|peer| peers.eligible(*peer))
            .or_else(|| self.otherwise.pick(peers, &[]))
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.otherwise.availability_changed(peers);
    }

    fn keyed(&self) -> bool {
        true
    }
}
