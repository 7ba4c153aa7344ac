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

    /// Who is asked for this key, one after the other, without end.
    fn candidates(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        let mut hash = 89;
        std::iter::repeat_with(move || {
            hash = key.iter().fold(hash, |hash, byte| (hash * 113 + u64::from(*byte)) % 6271);
            self.shares.owner(hash % self.shares.total())
        })
    }
}

impl Balancer for IpHash {
    fn pick(&self, peers: &dyn Candidates, key: &[u8]) -> Option<usize> {
        if key.is_empty() || self.shares.count() < 2 {
            return self.otherwise.pick(peers, &[]);
        }
        let mut candidates = self.candidates(key).take(1 + MAX_REJECTIONS);
        candidates.find(|peer| peers.eligible(*peer)).or_else(|| self.otherwise.pick(peers, &[]))
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.otherwise.availability_changed(peers);
    }

    fn keyed(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tier, name};
    use super::*;

    fn key(addr: &str) -> IpHashKey {
        ip_hash_key(addr.parse().expect("an address"))
    }

    fn candidates(addr: &str, weights: &[u32]) -> String {
        let balancer = IpHash::new(&Tier::weights(weights).members());
        balancer.candidates(&key(addr)).take(6).map(|peer| name(Some(peer))).collect()
    }

    #[test]
    fn the_key_is_a_24_of_ipv4_and_all_of_ipv6() {
        assert_eq!(*key("192.0.2.77"), [192, 0, 2]);
        assert_eq!(key("192.0.2.77"), key("192.0.2.1"));
        assert_eq!(key("2001:db8::1").len(), 16);
        assert_eq!(key("::ffff:192.0.2.77").len(), 16);
    }

    #[test]
    fn the_candidates_are_nginxs() {
        let table = [
            ("127.0.0.1", "ccbaaa", "aababb", "aaaaab"),
            ("10.0.0.1", "abaabc", "bbbbaa", "aacaaa"),
            ("192.168.1.1", "bccabb", "aaabbb", "abcaaa"),
            ("8.8.8.8", "cbacba", "bababb", "cbaaca"),
        ];
        for (addr, three, two, weighted) in table {
            assert_eq!(candidates(addr, &[1, 1, 1]), three, "{addr}");
            assert_eq!(candidates(addr, &[1, 1]), two, "{addr}");
            assert_eq!(candidates(addr, &[5, 1, 1]), weighted, "{addr}");
        }
        assert_eq!(candidates("::1", &[1, 1, 1]), "cacaab");
        assert_eq!(candidates("2001:db8::1", &[1, 1, 1]), "ccccca");
    }

    #[test]
    fn clients_of_an_absent_peer_move_and_nobody_else() {
        let clients = |tier: &Tier| -> String {
            let balancer = IpHash::new(&tier.members());
            let pick = |net| name(balancer.pick(tier, &key(&format!("127.0.{net}.9"))));
            (1..=8).map(pick).collect()
        };
        assert_eq!(clients(&Tier::weights(&[1, 1, 1])), "abcabcab");
        assert_eq!(clients(&Tier::weights(&[1, 1, 1]).only("ac")), "aacaacaa");
    }

    #[test]
    fn after_21_rejections_round_robin_decides() {
        let mut tier = Tier::weights(&[10_000, 1, 1, 1]).only("bcd");
        let balancer = IpHash::new(&tier.members());
        balancer.availability_changed(&tier);
        let picks: String = (0..4).map(|_| name(balancer.pick(&tier, &key("127.0.0.1")))).collect();
        assert_eq!(picks, "bcdb");
        tier.set_eligible("");
        assert_eq!(balancer.pick(&tier, &key("127.0.0.1")), None);
    }

    #[test]
    fn a_single_peer_needs_no_hash() {
        let tier = Tier::weights(&[1]);
        let balancer = IpHash::new(&tier.members());
        assert_eq!(balancer.pick(&tier, &key("10.0.0.1")), Some(0));
    }
}
