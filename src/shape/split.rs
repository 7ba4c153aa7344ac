//! To whom does a share of the requests go? (nginx: `ngx_http_split_clients_module`.)

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Shares of all requests, by key or in turn. What is left over is nobody's.
#[derive(Debug)]
pub struct Split {
    /// Where each share ends, in 2³²ths.
    ends: Vec<u32>,
    turn: AtomicU32,
}

/// All requests, in the hundredths of a percent of [`Split::new`].
pub const WHOLE: u32 = 10_000;

/// 2³² by the golden ratio: multiples of it fall evenly over the whole range, however few there are.
const GOLDEN: u32 = 0x9E37_79B9;

impl Split {
    /// Shares in hundredths of a percent, together at most [`WHOLE`].
    pub fn new(shares: impl IntoIterator<Item = u32>) -> Split {
        let mut end = 0_u32;
        let ends = shares.into_iter().map(|share| {
            let width = u64::from(share.min(WHOLE)) * u64::from(u32::MAX) / u64::from(WHOLE);
            end = end.saturating_add(u32::try_from(width).unwrap_or(u32::MAX));
            end
        });
        Split { ends: ends.collect(), turn: AtomicU32::new(0) }
    }

    /// The share that a key falls into, always the same: as nginx's `split_clients` would say.
    pub fn by_key(&self, key: &[u8]) -> Option<usize> {
        self.at(murmur2(key))
    }

    /// The share whose turn it is.
    pub fn by_turn(&self) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Relaxed).wrapping_add(1);
        self.at(turn.wrapping_mul(GOLDEN))
    }

    fn at(&self, place: u32) -> Option<usize> {
        self.ends.iter().position(|end| place < *end)
    }
}

/// MurmurHash2 with seed 0, as in nginx.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5BD1_E995;
    // Longer than 4 GiB is no key.
    let mut hash = bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `ngx_murmur_hash2` of nginx's source says.
    #[test]
    fn the_hash_is_nginxs() {
        for (key, hash) in [
            ("", 0x0000_0000),
            ("a", 0x9268_5f5e),
            ("ab", 0x1aa1_4063),
            ("abc", 0x1357_7c9b),
            ("abcd", 0x2687_3021),
            ("10.0.0.1", 0x9f25_c2bd),
            ("192.168.1.254", 0x47eb_f990),
            ("127.0.0.1AAA", 0xb5fc_5e4b),
            ("2001:db8::1", 0xf17b_4610),
            ("ünï", 0xc007_19ea),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key:?}");
        }
    }

    /// `split_clients "$key" $v { 0.5% .one; 2.0% .two; 50% .three; * ""; }`
    #[test]
    fn shares_end_where_nginxs_do() {
        let split = Split::new([50, 200, 5_000]);
        assert_eq!(split.ends, [21_474_836, 107_374_181, 2_254_857_828]);
        for (place, share) in [
            (0, Some(0)),
            (21_474_835, Some(0)),
            (21_474_836, Some(1)),
            (107_374_180, Some(1)),
            (107_374_181, Some(2)),
            (2_254_857_828, None),
            (u32::MAX, None),
        ] {
            assert_eq!(split.at(place), share, "{place}");
        }
    }

    #[test]
    fn a_key_always_falls_into_the_same_share_and_keys_fall_evenly() {
        let split = Split::new([1_000, 3_000]);
        let mut counts = [0; 3];
        for n in 0..10_000 {
            let key = format!("192.0.{}.{}", n / 256, n % 256);
            let share = split.by_key(key.as_bytes());
            assert_eq!(split.by_key(key.as_bytes()), share);
            counts[share.unwrap_or(2)] += 1;
        }
        assert!((900..1_100).contains(&counts[0]) && (2_850..3_150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn turns_are_spread_evenly_from_the_first() {
        for (share, of, expected) in
            [(500, 20, 1), (1_000, 10, 1), (1_000, 100, 10), (3_333, 300, 100), (5_000, 100, 50)]
        {
            let split = Split::new([share]);
            let count = (0..of).filter(|_| split.by_turn().is_some()).count() as i32;
            assert!((count - expected).abs() <= 1, "{count} of {of} for {share}");
        }
    }

    #[test]
    fn nothing_gets_nothing_and_the_whole_gets_all() {
        let (nothing, whole) = (Split::new([0]), Split::new([WHOLE]));
        assert!((0..1_000).all(|_| nothing.by_turn().is_none() && whole.by_turn() == Some(0)));
    }
}
