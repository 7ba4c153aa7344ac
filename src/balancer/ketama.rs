//! Who owns this key on the ring? (nginx: `hash KEY consistent`, compatible with Cache::Memcached::Fast,
//! ketama_points=160)

use super::round_robin::RoundRobin;
use super::smooth::{Smooth, scaled};
use super::{Balancer, Candidates, FULL, Member};

/// Every peer owns 160 points per weight on a ring of 32 bits; a key belongs to the next point. If its owner is not
/// eligible the walk goes on to the next owner who is (nginx gives up after 21 points), so everybody else's keys stay.
#[derive(Debug)]
pub(super) struct Ketama {
    ring: Ring,
    owners: Box<[Owner]>,
    weights: Box<[u32]>,
    /// Turns among peers of one owner.
    turns: Smooth,
    otherwise: RoundRobin,
}

/// The peers that share one text, and therefore one set of points.
#[derive(Debug)]
struct Owner {
    first: u32,
    /// Nearly always nobody, so that a pick needs not follow a pointer.
    others: Box<[u32]>,
}

impl Owner {
    fn new(peers: &[u32]) -> Owner {
        let (first, others) = peers.split_first().expect("a group begins with its first peer");
        Owner { first: *first, others: others.into() }
    }
}

impl Ketama {
    pub(super) fn new(members: &[Member<'_>]) -> Ketama {
        let groups = by_text(members);
        let total: u64 = groups.iter().map(|group| group.points).sum();
        let mut ring: Vec<(u32, u32)> = Vec::with_capacity(total.min(MAX_POINTS) as usize);
        for (owner, group) in (0u32..).zip(&groups) {
            let points = points_of(group.text.as_bytes()).take(fitting(group.points, total));
            ring.extend(points.map(|point| (point, owner)));
        }
        // Of equal points the first peer's counts, as after nginx's (stable) sort.
        ring.sort_unstable();
        ring.dedup_by_key(|(point, _)| *point);
        Ketama {
            ring: Ring::new(ring),
            owners: groups.into_iter().map(|group| Owner::new(&group.peers)).collect(),
            weights: members.iter().map(|member| member.weight).collect(),
            turns: Smooth::new(members.len()),
            otherwise: RoundRobin::new(members),
        }
    }

    fn walk(&self, from: usize, peers: &dyn Candidates) -> Option<usize> {
        let (before, after) = self.ring.points.split_at(from);
        let (near, far) = after.split_at(after.len().min(NEAR));
        self.first_eligible(near, peers).or_else(|| {
            // A long walk is worth it only if somebody waits at its end.
            let somebody = (0..self.weights.len()).any(|peer| peers.eligible(peer));
            let rest = || self.first_eligible(far, peers).or_else(|| self.first_eligible(before, peers));
            if somebody { rest() } else { None }
        })
    }

    fn first_eligible(&self, points: &[(u32, u32)], peers: &dyn Candidates) -> Option<usize> {
        points.iter().find_map(|(_, owner)| self.of_owner(&self.owners[*owner as usize], peers))
    }

    fn of_owner(&self, owner: &Owner, peers: &dyn Candidates) -> Option<usize> {
        let eligible = |peer: &u32| Some(*peer as usize).filter(|peer| peers.eligible(*peer));
        if owner.others.is_empty() {
            return eligible(&owner.first);
        }
        let all = std::iter::once(&owner.first).chain(&owner.others).filter_map(eligible);
        self.turns.step(all.map(|peer| (peer, scaled(self.weights[peer], FULL))))
    }
}

/// Points and the indices of their owners, by point.
#[derive(Debug)]
struct Ring {
    points: Box<[(u32, u32)]>,
    /// How many points lie before each part of the circle. There are about half as many parts as points, so a search
    /// has to look at a few neighbours instead of all over the memory.
    before: Box<[u32]>,
    /// Bits of a hash within a part.
    shift: u32,
}

impl Ring {
    /// Of points in their order.
    fn new(points: Vec<(u32, u32)>) -> Ring {
        let parts = (points.len() / 2).max(2).next_power_of_two() as u64;
        let shift = u32::BITS - parts.ilog2();
        let mut at = 0;
        let starts = (0..=parts).map(|part| {
            at += points[at..].iter().take_while(|(point, _)| u64::from(*point) < part << shift).count();
            at as u32
        });
        Ring { before: starts.collect(), points: points.into(), shift }
    }

    /// The first point that is not below `hash`, or the end.
    fn find(&self, hash: u32) -> usize {
        let part = (hash >> self.shift) as usize;
        let (start, end) = (self.before[part] as usize, self.before[part + 1] as usize);
        start + self.points[start..end].partition_point(|(point, _)| *point < hash)
    }
}

/// How many points are walked before it is asked whether anybody is eligible at all.
const NEAR: usize = 1000;

impl Balancer for Ketama {
    fn pick(&self, peers: &dyn Candidates, key: &[u8]) -> Option<usize> {
        if key.is_empty() || self.weights.len() < 2 {
            return self.otherwise.pick(peers, &[]);
        }
        self.walk(self.ring.find(crc32fast::hash(key)), peers)
    }

    fn availability_changed(&self, peers: &dyn Candidates) {
        self.otherwise.availability_changed(peers);
    }

    fn keyed(&self) -> bool {
        true
    }
}

const POINTS_PER_WEIGHT: u64 = 160;

/// Above this many points (32 MiB) everybody gets fewer, in proportion; nginx would take the memory.
const MAX_POINTS: u64 = 1 << 22;

/// How many of its points a group gets.
fn fitting(points: u64, total: u64) -> usize {
    let part = u128::from(points) * u128::from(MAX_POINTS.min(total)) / u128::from(total.max(1));
    part.max(1) as usize
}

struct Group<'a> {
    text: &'a str,
    points: u64,
    peers: Vec<u32>,
}

/// Peers of one text together, in the order of their first. Writing one twice does not double its share; with
/// different weights, the points of the larger contain those of the smaller.
fn by_text<'a>(members: &[Member<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for (peer, member) in (0u32..).zip(members) {
        let at = *seen.entry(member.ring_text).or_insert_with(|| {
            groups.push(Group { text: member.ring_text, points: 0, peers: Vec::new() });
            groups.len() - 1
        });
        let points = u64::from(member.weight.max(1)) * POINTS_PER_WEIGHT;
        groups[at].points = groups[at].points.max(points);
        groups[at].peers.push(peer);
    }
    groups
}

/// The points of a text: each is the CRC of host, zero, port and the point before.
fn points_of(text: &[u8]) -> impl Iterator<Item = u32> {
    let (host, port) = host_and_port(text);
    let mut start = crc32fast::Hasher::new();
    start.update(host);
    start.update(&[0]);
    start.update(port);
    std::iter::successors(Some(0u32), move |previous| {
        let mut crc = start.clone();
        crc.update(&previous.to_le_bytes());
        Some(crc.finalize())
    })
    .skip(1)
}

/// As nginx splits them: a port only if there are digits after the last colon; none for `unix:`.
fn host_and_port(text: &[u8]) -> (&[u8], &[u8]) {
    if let Some((scheme, path)) = text.split_at_checked(5)
        && scheme.eq_ignore_ascii_case(b"unix:")
    {
        return (path, &[]);
    }
    match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) if colon + 1 < text.len() && text[colon + 1..].iter().all(u8::is_ascii_digit) => {
            (&text[..colon], &text[colon + 1..])
        }
        _ => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Method;
    use super::super::testing::Tier;
    use super::*;

    const KEYS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "foo", "user42"];
    const METHOD: Method = Method::Hash { consistent: true };

    fn tier(texts: &[&str]) -> Tier {
        let mut tier = Tier::weights(&vec![1; texts.len()]);
        tier.peers.iter_mut().zip(texts).for_each(|(peer, text)| peer.text = (*text).to_owned());
        tier
    }

    fn owners(tier: &Tier) -> String {
        tier.by_key(&*tier.build(METHOD), &KEYS)
    }

    #[test]
    fn the_points_are_nginxs() {
        let points: Vec<u32> = points_of(b"127.0.0.1:8081").take(5).collect();
        assert_eq!(points, [0x50aa_bcf7, 0xb8dc_900a, 0x2a33_55ce, 0x839f_657f, 0xaf82_41b9]);
    }

    #[test]
    fn the_ring_is_nginxs() {
        let ring = Ketama::new(&Tier::weights(&[1, 1, 1]).members()).ring.points;
        assert_eq!(ring.len(), 480);
        assert_eq!((ring.first(), ring.last()), (Some(&(858_133, 0)), Some(&(4_291_836_733, 0))));
    }

    #[test]
    fn a_point_is_found_as_by_a_search_of_the_whole_ring() {
        for peers in [0, 1, 3, 100] {
            let ring = Ketama::new(&Tier::weights(&vec![1; peers]).members()).ring;
            let near = |hash: u32| [hash.wrapping_sub(1), hash, hash.wrapping_add(1)];
            let hashes = ring.points.iter().map(|(point, _)| *point).chain([0, 1 << 31]).flat_map(near);
            for hash in hashes {
                assert_eq!(ring.find(hash), ring.points.partition_point(|(point, _)| *point < hash), "{hash}");
            }
        }
    }

    #[test]
    fn ten_thousand_keys_spread_as_with_nginx() {
        let tier = Tier::weights(&[1, 1, 1]);
        let balancer = tier.build(METHOD);
        let mut shares = [0; 3];
        for key in 0..10_000 {
            shares[balancer.pick(&tier, key.to_string().as_bytes()).expect("all are eligible")] += 1;
        }
        assert_eq!(shares, [3353, 3155, 3492]);
    }

    #[test]
    fn keys_are_where_nginx_has_them() {
        assert_eq!(owners(&Tier::weights(&[1, 1, 1])), "acacacababab");
        assert_eq!(owners(&tier(&["127.0.0.1:8081", "127.0.0.1:8083"])).replace('b', "c"), "acacacacaaac");
        let other = tier(&["127.0.0.1:18081", "127.0.0.1:18082", "127.0.0.1:18083"]);
        assert_eq!(owners(&other), "caabacabbaac");
        assert_eq!(owners(&other.only("ac")), "caaaacacaaac");
    }

    #[test]
    fn hosts_and_ports_are_split_as_nginx_does() {
        let table: [(&str, &str, &str); 7] = [
            ("10.0.0.1:80", "10.0.0.1", "80"),
            ("[::1]:80", "[::1]", "80"),
            ("[::1]", "[::1]", ""),
            ("app", "app", ""),
            ("app:", "app:", ""),
            ("UNIX:/run/app.sock", "/run/app.sock", ""),
            ("unix:/run/app:80", "/run/app:80", ""),
        ];
        for (text, host, port) in table {
            assert_eq!(host_and_port(text.as_bytes()), (host.as_bytes(), port.as_bytes()), "{text}");
        }
    }

    #[test]
    fn peers_of_one_text_share_its_points_by_turns() {
        let tier = tier(&["app:80", "app:80", "other:80"]);
        let balancer = tier.build(METHOD);
        let same_key: String = (0..4).map(|_| tier.by_key(&*balancer, &["1"])).collect();
        assert!(["abab", "cccc"].contains(&&*same_key), "{same_key}");
        let ring = Ketama::new(&tier.members()).ring.points;
        assert_eq!(ring.iter().filter(|(_, owner)| *owner == 0).count(), 160, "written twice, one share");
    }

    #[test]
    fn a_tier_of_one_text_takes_turns() {
        let tier = tier(&["app:80", "app:80", "app:80"]);
        assert_eq!(tier.by_key(&*tier.build(METHOD), &["x"; 6]), "abcabc");
    }

    #[test]
    fn without_a_key_round_robin_decides() {
        let tier = Tier::weights(&[1, 1, 1]);
        assert_eq!(tier.picks(&*tier.build(METHOD), 4), "abca");
    }

    #[test]
    fn an_owner_is_found_however_far_it_is() {
        let tier = Tier::weights(&[1; 26]).only("q");
        assert_eq!(owners(&tier), "qqqqqqqqqqqq");
        assert_eq!(owners(&Tier::weights(&[1; 26]).only("")), "------------");
    }

    #[test]
    fn huge_weights_get_a_ring_that_fits() {
        assert_eq!(fitting(160, 480), 160);
        assert_eq!(fitting(MAX_POINTS, 4 * MAX_POINTS), MAX_POINTS as usize / 4);
        assert_eq!(fitting(160, u64::MAX), 1);
    }

    proptest! {
        #[test]
        fn removing_a_peer_moves_its_keys_only(
            weights in prop::collection::vec(1u32..4, 2..8),
            gone in any::<prop::sample::Index>(),
            keys in prop::collection::vec("[a-z0-9/]{1,12}", 1..100),
        ) {
            let tier = Tier::weights(&weights);
            let gone = gone.index(weights.len());
            let balancer = tier.build(METHOD);
            let before: Vec<_> = keys.iter().map(|key| balancer.pick(&tier, key.as_bytes())).collect();

            let mut without = Tier::weights(&weights);
            without.peers[gone].eligible = false;
            let absent: Vec<_> = keys.iter().map(|key| balancer.pick(&without, key.as_bytes())).collect();

            let mut removed = Tier::weights(&weights);
            removed.peers.remove(gone);
            let fresh = removed.build(METHOD);
            let deleted = keys.iter().map(|key| fresh.pick(&removed, key.as_bytes()));
            let deleted: Vec<_> = deleted.map(|peer| peer.map(|peer| peer + usize::from(peer >= gone))).collect();

            for ((before, absent), deleted) in before.iter().zip(&absent).zip(&deleted) {
                prop_assert!(before == absent || *before == Some(gone));
                prop_assert_eq!(absent, deleted, "absent or deleted is the same to a key");
            }
        }
    }
}
