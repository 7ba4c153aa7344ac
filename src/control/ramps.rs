//! Do peers that ramp up (`slow_start`) keep pace with those who serve already? Every second; a ramp whose peer answers more
//! slowly than the others is held back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::balancer::{Distribution, FULL};
use crate::clock::{Clock, Timestamp};
use crate::health::outlier::{Rule, Sample, outliers};
use crate::id::PeerId;
use crate::topology::{Group, Live, Peer, Tier};

const PACE: Duration = Duration::from_secs(1);

/// A peer lags whose median is twice that of its peers; a few answers suffice, since a new peer gets few.
const LAGS: Rule = Rule { failure_share: 0, latency_factor: 2, min_requests: 5 };

/// Holds ramps back.
pub struct Ramps {
    live: Arc<Live>,
    /// What was counted when its present window began.
    seen: HashMap<PeerId, Distribution>,
    lagging: HashSet<PeerId>,
}

impl Ramps {
    /// Follows the peers of `live`.
    pub fn new(live: Arc<Live>) -> Ramps {
        Ramps { live, seen: HashMap::new(), lagging: HashSet::new() }
    }

    /// Looks every second, while the configuration has a `slow_start`.
    pub async fn run(mut self, mut version: watch::Receiver<u64>) {
        let clock = Clock::process();
        loop {
            let ramps = |group: &Arc<Group>| group.seats().any(|seat| !seat.server.slow_start.is_zero());
            let groups: Vec<Arc<Group>> =
                self.live.load().groups().iter().filter(|group| ramps(group)).cloned().collect();
            if groups.is_empty() {
                if version.changed().await.is_err() {
                    return;
                }
                continue;
            }
            for tier in groups.iter().flat_map(|group| group.tiers()) {
                self.look(tier, clock.now());
            }
            drop(groups);
            tokio::time::sleep(PACE).await;
        }
    }

    fn look(&mut self, tier: &Tier, now: Timestamp) {
        let peers: Vec<&Arc<Peer>> = tier.seats.iter().map(|seat| &seat.peer).collect();
        let ramping = |peer: &Peer| peer.cell.ramp(now) < FULL;
        if !peers.iter().any(|peer| ramping(peer)) {
            for peer in peers {
                self.seen.remove(&peer.id);
                self.lagging.remove(&peer.id);
            }
            return;
        }
        let mut samples = Vec::with_capacity(peers.len());
        for peer in &peers {
            peer.latency.count_heads();
            let heads = peer.latency.heads().unwrap_or_default();
            let heads = heads.since(self.seen.entry(peer.id).or_insert_with(|| heads.clone()));
            let answers = heads.total();
            samples.push(Sample { answers, median: heads.quantile(50), ..Sample::default() });
        }
        let found = outliers(&samples, &LAGS);
        for ((peer, sample), found) in peers.iter().zip(&samples).zip(found) {
            // Until there is enough to tell, what was told last holds.
            if sample.answers >= LAGS.min_requests {
                match found {
                    Some(found) if ramping(peer) => {
                        if self.lagging.insert(peer.id) {
                            tracing::info!("{}: {}: its ramp is held back: {found}", peer.group.name, peer.described());
                        }
                    }
                    _ => _ = self.lagging.remove(&peer.id),
                }
                self.seen.remove(&peer.id);
                self.seen.insert(peer.id, peer.latency.heads().unwrap_or_default());
            }
            if self.lagging.contains(&peer.id) {
                peer.hold_ramp(now);
            }
        }
    }
}
