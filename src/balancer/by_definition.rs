//! Is what least_time picks by its words the best, as its definition computes it from the peers? And is nobody lost?

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use proptest::prelude::*;

use super::speed::{Expectation, bucket};
use super::testing::Tier;
use super::{Balancer, COMPARE_ALL, Candidates, FULL, Latency, Measure, Member, Method, build};
use crate::clock::Timestamp;

const LAST_BYTE: Method = Method::LeastTime { measure: Measure::LastByte, inflight: false };

/// As many untold as a pick passes over at most.
const TRIED: usize = 4;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What may happen between two picks.
#[derive(Clone, Debug)]
enum Event {
    /// A request begins at a peer.
    Begin(usize),
    /// One that took so many ms ends there.
    End(usize, u64),
    /// A peer becomes available or unavailable, and all are told.
    Change(usize),
    /// A request may have a peer or not, and nobody is told.
    Try(usize),
    Wait(u64),
}

fn events(peers: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..peers).prop_map(Event::Begin),
        ((0..peers), 1u64..150).prop_map(|(peer, time)| Event::End(peer, time)),
        (0..peers).prop_map(Event::Change),
        (0..peers).prop_map(Event::Try),
        (0u64..50).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 0..40)
}

/// `known`: whom the balancer believes to be available.
fn happens(event: Event, tier: &mut Tier, known: &mut [bool], balancer: &dyn Balancer) {
    match event {
        Event::Begin(peer) => {
            tier.peers[peer].in_flight += 1;
            tier.tell(balancer, peer);
        }
        Event::End(peer, time) => {
            let mut timing = tier.peers[peer].latency.picked(tier.now);
            tier.peers[peer].latency.header(&mut timing, tier.now + millis(time));
            tier.peers[peer].latency.finished(timing, tier.now + millis(time));
            tier.peers[peer].in_flight = tier.peers[peer].in_flight.saturating_sub(1);
            tier.tell(balancer, peer);
        }
        Event::Change(peer) => {
            tier.peers[peer].eligible ^= true;
            balancer.availability_changed(tier);
            known.iter_mut().zip(&tier.peers).for_each(|(known, peer)| *known = peer.eligible);
        }
        // As many as a pick passes over at most.
        Event::Try(peer) => tier.peers[peer % TRIED.min(known.len())].eligible ^= true,
        Event::Wait(time) => tier.now = tier.now + millis(time),
    }
}

/// Those with the lowest expected time per weight, computed from what the peers say, one after the other.
fn best_by_definition(tier: &Tier, known: &[bool]) -> Vec<usize> {
    let all = || 0..tier.peers.len();
    let is_eligible = |peer: &usize| tier.peers[*peer].eligible;
    // If nobody is left of those that are known, all are asked.
    let by_words = all().any(|peer| known[peer] && is_eligible(&peer));
    let eligible = || all().filter(is_eligible).filter(|peer| known[*peer] || !by_words);
    let compared = all().filter(|peer| if by_words { known[*peer] } else { is_eligible(peer) });
    let expected = |peer: usize| tier.peers[peer].latency.unfaded(Measure::LastByte);
    let key = |expected: &Expectation| (expected.micros, bucket(expected.millis));
    let Some(fastest) = compared.map(expected).min_by_key(key) else { return Vec::new() };
    // Cost and weight.
    let load = |peer: usize| {
        let Expectation { micros, millis } = expected(peer);
        let level = micros <= fastest.micros + (fastest.micros / 4).max(5_000);
        // nginx's rounding makes nobody faster than the fastest.
        let steps = bucket(if level { fastest.millis } else { millis }).max(bucket(fastest.millis));
        let peer = &tier.peers[peer];
        (steps * u64::from(1 + peer.in_flight), u64::from(peer.weight * peer.ramp))
    };
    let less = |(cost, weight): (u64, u64), (other, others): (u64, u64)| cost * others < other * weight;
    let is_best = |peer: &usize| !eligible().any(|other| less(load(other), load(*peer)));
    eligible().filter(is_best).collect()
}

proptest! {
    #[test]
    fn the_pick_is_the_best_by_definition(
        (peers, events) in (1usize..20).prop_flat_map(|count| {
            let peer = (1u32..9, 0u32..4, prop_oneof![Just(FULL), Just(FULL / 2), Just(FULL / 4)]);
            (prop::collection::vec(peer, count), events(count))
        }),
    ) {
        let mut tier = Tier::weights(&peers.iter().map(|(weight, ..)| *weight).collect::<Vec<_>>());
        for (peer, (_, in_flight, ramp)) in tier.peers.iter_mut().zip(&peers) {
            (peer.in_flight, peer.ramp) = (*in_flight, *ramp);
        }
        let balancer = tier.build(LAST_BYTE);
        // Fewer picks, and less time, than it takes until somebody is looked at.
        let mut known = vec![true; peers.len()];
        for event in events.into_iter().take(2 * peers.len()) {
            happens(event, &mut tier, &mut known, &*balancer);
            let best = best_by_definition(&tier, &known);
            match balancer.pick(&tier, &[]) {
                Some(picked) => prop_assert!(best.contains(&picked), "{picked} and not one of {best:?}"),
                None => prop_assert!(best.is_empty()),
            }
        }
    }
}

/// Peers with room for two requests each, which several threads count.
struct Busy {
    in_flight: Vec<AtomicU32>,
    latency: Vec<Latency>,
}

impl Busy {
    /// One request that took so many ms.
    fn serve(&self, balancer: &dyn Balancer, time: u64) {
        let Some(peer) = balancer.pick(self, &[]) else { return };
        let tell = || balancer.use_changed(peer, &self.latency[peer], &|| self.in_flight[peer].load(SeqCst));
        if self.in_flight[peer].fetch_update(SeqCst, SeqCst, |taken| (taken < 2).then(|| taken + 1)).is_err() {
            return;
        }
        tell();
        let mut timing = self.latency[peer].picked(self.now());
        self.latency[peer].header(&mut timing, self.now() + millis(time));
        self.latency[peer].finished(timing, self.now() + millis(time));
        self.in_flight[peer].fetch_sub(1, SeqCst);
        tell();
    }
}

impl Candidates for Busy {
    fn count(&self) -> usize {
        self.in_flight.len()
    }
    fn eligible(&self, i: usize) -> bool {
        self.in_flight(i) < 2
    }
    fn in_flight(&self, i: usize) -> u32 {
        self.in_flight[i].load(SeqCst)
    }
    fn latency(&self, i: usize) -> &Latency {
        &self.latency[i]
    }
    fn ramp(&self, _: usize) -> u32 {
        FULL
    }
    fn now(&self) -> Timestamp {
        Timestamp::secs(1)
    }
}

#[test]
fn peers_that_threads_have_filled_are_all_there_when_they_are_idle_again() {
    let member = Member { weight: 1, ring_text: "", max_conns: 2, fail_timeout: Duration::from_secs(10) };
    // All are compared, or a sample of them, in which not everybody comes up as often.
    let rounds = [(3, 9); 20].into_iter().chain([(COMPARE_ALL + 22, 8 * (COMPARE_ALL + 22)); 2]);
    for (count, picks) in rounds {
        let peers = Busy {
            in_flight: (0..count).map(|_| AtomicU32::new(0)).collect(),
            latency: (0..count).map(|_| Latency::default()).collect(),
        };
        let balancer = build(&LAST_BYTE, &vec![member; count], 1);
        let work = |time: u64| (0..1_000).for_each(|i| peers.serve(&*balancer, time + i % 3));
        std::thread::scope(|scope| {
            for time in 1..=8 {
                scope.spawn(move || work(time));
            }
        });
        let picked: BTreeSet<_> = (0..picks).filter_map(|_| balancer.pick(&peers, &[])).collect();
        assert!(picked.into_iter().eq(0..count), "of {count}");
    }
}
