//! A tier that tests can write down in a line.

use std::time::Duration;

use super::{Balancer, Candidates, FULL, Latency, Member, Method, build};
use crate::clock::Timestamp;

/// Peers a, b, c… with everything an algorithm may ask.
#[derive(Debug)]
pub(super) struct Tier {
    pub peers: Vec<Peer>,
    pub now: Timestamp,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub weight: u32,
    pub text: String,
    pub eligible: bool,
    pub in_flight: u32,
    pub ramp: u32,
    pub latency: Latency,
}

pub(super) const FAIL_TIMEOUT: Duration = Duration::from_secs(10);

impl Tier {
    /// Idle, eligible peers of these weights, called `127.0.0.1:8081`, `:8082`…
    pub(super) fn weights(weights: &[u32]) -> Tier {
        let peer = |(weight, port): (&u32, u32)| Peer {
            weight: *weight,
            text: format!("127.0.0.1:{port}"),
            eligible: true,
            in_flight: 0,
            ramp: FULL,
            latency: Latency::default(),
        };
        Tier { peers: weights.iter().zip(8081..).map(peer).collect(), now: Timestamp::secs(1) }
    }

    pub(super) fn build(&self, method: Method) -> Box<dyn Balancer> {
        if let Some(measure) = method.goes_by_unfinished() {
            self.peers.iter().for_each(|peer| peer.latency.count_unfinished(measure));
        }
        build(&method, &self.members(), 1)
    }

    pub(super) fn members(&self) -> Vec<Member<'_>> {
        self.peers
            .iter()
            .map(|peer| Member { weight: peer.weight, ring_text: &peer.text, max_conns: 0, fail_timeout: FAIL_TIMEOUT })
            .collect()
    }

    /// Lets exactly the named peers (`"ac"`) be eligible.
    pub(super) fn only(mut self, names: &str) -> Tier {
        self.set_eligible(names);
        self
    }

    pub(super) fn set_eligible(&mut self, names: &str) {
        for (peer, name) in self.peers.iter_mut().zip('a'..) {
            peer.eligible = names.contains(name);
        }
    }

    /// The names of `count` picks, each request being over before the next; `-` for nobody.
    pub(super) fn picks(&self, balancer: &dyn Balancer, count: usize) -> String {
        (0..count).map(|_| name(balancer.pick(self, &[]))).collect()
    }

    /// The names of `count` picks whose requests all last.
    pub(super) fn overlapping(&mut self, balancer: &dyn Balancer, count: usize) -> String {
        let mut pick = || {
            let picked = balancer.pick(self, &[]);
            if let Some(picked) = picked {
                self.peers[picked].in_flight += 1;
            }
            name(picked)
        };
        (0..count).map(|_| pick()).collect()
    }

    /// What a lease says when it begins and ends.
    pub(super) fn tell(&self, balancer: &dyn Balancer, i: usize) {
        let Peer { latency, in_flight, .. } = &self.peers[i];
        balancer.use_changed(i, latency, &|| *in_flight);
    }

    /// Whom each key gets.
    pub(super) fn by_key(&self, balancer: &dyn Balancer, keys: &[&str]) -> String {
        keys.iter().map(|key| name(balancer.pick(self, key.as_bytes()))).collect()
    }

    /// Whom one request is given, while each peer in turn fails it.
    pub(super) fn candidates(mut self, balancer: &dyn Balancer, key: &[u8]) -> String {
        let mut names = String::new();
        while let Some(picked) = balancer.pick(&self, key) {
            names.push(name(Some(picked)));
            self.peers[picked].eligible = false;
        }
        names
    }
}

pub(super) fn name(picked: Option<usize>) -> char {
    picked.and_then(|i| ('a'..='z').nth(i)).unwrap_or('-')
}

/// One request from pick to last byte, alone.
pub(super) fn serve(tier: &mut Tier, balancer: &dyn Balancer, time: impl FnMut(usize) -> u64) -> char {
    let Some(picked) = balancer.pick(tier, &[]) else { return '-' };
    run(tier, balancer, picked, time);
    name(Some(picked))
}

/// One request to a peer, from pick to last byte, alone.
pub(super) fn run(tier: &mut Tier, balancer: &dyn Balancer, picked: usize, mut time: impl FnMut(usize) -> u64) {
    let mut timing = tier.peers[picked].latency.picked(tier.now);
    tier.now = tier.now + Duration::from_millis(time(picked));
    tier.peers[picked].latency.header(&mut timing, tier.now);
    tier.peers[picked].latency.finished(timing, tier.now);
    tier.tell(balancer, picked);
}

impl Candidates for Tier {
    fn count(&self) -> usize {
        self.peers.len()
    }
    fn eligible(&self, i: usize) -> bool {
        self.peers[i].eligible
    }
    fn in_flight(&self, i: usize) -> u32 {
        self.peers[i].in_flight
    }
    fn latency(&self, i: usize) -> &Latency {
        &self.peers[i].latency
    }
    fn ramp(&self, i: usize) -> u32 {
        self.peers[i].ramp
    }
    fn now(&self) -> Timestamp {
        self.now
    }
}
