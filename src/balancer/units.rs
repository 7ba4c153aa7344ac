//! How are requests compared per weight, without dividing?

/// What one request counts at each peer, so that as many requests as a peer weighs count the same everywhere: the least common
/// multiple of all weights, divided by its weight. Loads that are level are equal numbers.
///
/// If the multiple is very large, what a request counts is rounded to at worst a 256th.
pub(super) fn units(weights: &[u32]) -> Box<[u32]> {
    let weights = || weights.iter().map(|weight| u64::from((*weight).max(1)));
    let multiple = weights().try_fold(1, |multiple, weight| {
        let multiple = multiple / gcd(multiple, weight) * weight;
        (multiple <= LARGEST).then_some(multiple)
    });
    let unit = |weight: u64| match multiple {
        Some(multiple) => multiple / weight,
        None => (weights().max().unwrap_or(1) * FINE + weight / 2) / weight,
    };
    weights().map(|weight| u32::try_from(unit(weight)).unwrap_or(u32::MAX)).collect()
}

/// A peer of the least weight may then have 65,000 requests before they are too many to count.
const LARGEST: u64 = 1 << 16;

/// What a request counts at the heaviest of peers without a small common multiple.
const FINE: u64 = 1 << 8;

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_as_a_peer_weighs_count_the_same() {
        let table: [(&[u32], &[u32]); 6] = [
            (&[], &[]),
            (&[1, 1, 1], &[1, 1, 1]),
            (&[7, 7], &[1, 1]),
            (&[2, 1, 3], &[3, 6, 2]),
            (&[1, 2, 3, 4, 5], &[60, 30, 20, 15, 12]),
            (&[0, 2], &[2, 1]),
        ];
        for (weights, due) in table {
            assert_eq!(*units(weights), *due, "{weights:?}");
        }
    }

    #[test]
    fn without_a_small_multiple_a_request_counts_about_as_much() {
        assert_eq!(*units(&[99_991, 65_537]), [256, 391]);
        assert_eq!(*units(&[u32::MAX, u32::MAX - 1, 1]), [256, 256, u32::MAX], "the largest numbers do not overflow");
    }
}
