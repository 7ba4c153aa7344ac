//! Which peer for this key? (nginx: `ngx_http_upstream_hash_module.c`, compatible with Cache::Memcached)

use super::round_robin::RoundRobin;
use super::shares::Shares;
use super::{Balancer, Candidates, MAX_REJECTIONS, Member};

/// A key's peer by its CRC. Absent peers keep their places, so that nobody else's keys move.
#[derive(Debug)]
pub(super) struct Hash {
    shares: Shares,
    otherwise: RoundRobin,
}

impl Hash {
    pub(super) fn new(members: &[Member<'_>]) -> Hash {
        Hash { shares: Shares::new(members), otherwise: RoundRobin::new(members) }
    }

    /// Who is asked for this key, one after the other.
    fn candidates(&self, key: &[u8]) -> impl Iterator<Item = usize> {
        let mut hash = 0u32;
        (0..).map(move |round| {
            hash = hash.wrapping_add(crc(round, key) >> 16 & 0x7fff);
            self.shares.owner(u64::from(hash) % self.shares.total())
        })
    }
}

impl Balancer for Hash {
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

/// Of the key itself, then of `1KEY`, `2KEY`…
fn crc(round: usize, key: &[u8]) -> u32 {
    // Two digits are enough for MAX_REJECTIONS.
    let digits = [b'0' + (round / 10 % 10) as u8, b'0' + (round % 10) as u8];
    let prefix = match round {
        0 => &[],
        1..=9 => &digits[1..],
        _ => &digits[..],
    };
    let mut crc = crc32fast::Hasher::new();
    crc.update(prefix);
    crc.update(key);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::super::testing::{Tier, name};
    use super::*;

    const KEYS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "foo", "user42"];
    const METHOD: Method = Method::Hash { consistent: false };

    #[test]
    fn the_crc_is_that_of_zlib() {
        assert_eq!(crc(0, b"1"), 0x83dc_efb7);
        assert_eq!(crc(0, b"1") >> 16 & 0x7fff, 988);
    }

    #[test]
    fn later_rounds_put_their_number_before_the_key() {
        assert_eq!(crc(7, b"key"), crc(0, b"7key"));
        assert_eq!(crc(20, b"key"), crc(0, b"20key"));
    }

    #[test]
    fn keys_are_where_nginx_has_them() {
        let table = [
            (Tier::weights(&[1, 1, 1]), "bcbabaaccaba"),
            (Tier::weights(&[5, 1, 1]), "aaabaccbaaaa"),
            (Tier::weights(&[1, 1, 1]).only("ac"), "acaacaaccaaa"),
        ];
        for (tier, owners) in table {
            assert_eq!(tier.by_key(&*tier.build(METHOD), &KEYS), owners);
        }
    }

    #[test]
    fn the_candidates_are_nginxs() {
        let balancer = Hash::new(&Tier::weights(&[1, 1, 1]).members());
        let candidates = |key: &str| -> String {
            balancer.candidates(key.as_bytes()).take(8).map(|peer| name(Some(peer))).collect()
        };
        let table = [("1", "babcacaa"), ("2", "ccababbc"), ("foo", "bacaacaa"), ("/index.html", "ccaccbaa")];
        for (key, expected) in table {
            assert_eq!(candidates(key), expected, "{key}");
        }
    }

    #[test]
    fn a_retry_goes_to_the_keys_next_candidate() {
        let tier = Tier::weights(&[1, 1, 1]);
        let balancer = tier.build(METHOD);
        assert_eq!(tier.candidates(&*balancer, b"2"), "cab");
    }

    #[test]
    fn without_a_key_round_robin_decides() {
        let tier = Tier::weights(&[1, 1, 1]);
        assert_eq!(tier.picks(&*tier.build(METHOD), 4), "abca");
    }
}
