//! How long do the answers of a group usually take? Every second, where a `hedge_after` is a percentile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::balancer::Distribution;
use crate::config::Config;
use crate::config::model::HedgeAfter;
use crate::id::{GroupId, PeerId};
use crate::topology::{Group, Live};

const PACE: Duration = Duration::from_secs(1);

/// Of fewer answers nothing is concluded.
const LEAST: u64 = 20;

/// When so many are known, older ones begin to count less: a quiet night is not forgotten, and a busy hour is followed
/// within seconds.
const ENOUGH: u64 = 1_000;

/// Follows the waits of all groups.
pub struct Waits {
    live: Arc<Live>,
    known: HashMap<GroupId, Known>,
}

/// What is known of a group.
#[derive(Default)]
struct Known {
    lately: Distribution,
    seen: HashMap<PeerId, Distribution>,
}

impl Waits {
    /// Follows the groups of `live`.
    pub fn new(live: Arc<Live>) -> Waits {
        Waits { live, known: HashMap::new() }
    }

    /// Looks every second, while the configuration asks for that.
    pub async fn run(mut self, mut version: watch::Receiver<u64>) {
        loop {
            if !self.look() {
                if version.changed().await.is_err() {
                    return;
                }
                continue;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// `false`: nobody wants to know.
    fn look(&mut self) -> bool {
        let topology = self.live.load();
        if !is_wanted(topology.config()) {
            self.known.clear();
            return false;
        }
        self.known.retain(|id, _| topology.group(*id).is_some());
        for group in topology.groups() {
            let known = self.known.entry(group.id()).or_default();
            known.look(group);
            if known.lately.total() >= LEAST {
                group.state.set_waits(known.lately.clone());
            }
        }
        true
    }
}

impl Known {
    fn look(&mut self, group: &Group) {
        let mut seen = HashMap::new();
        for seat in group.seats() {
            let peer = &seat.peer;
            peer.latency.count_heads();
            let heads = peer.latency.heads().unwrap_or_default();
            if let Some(before) = self.seen.get(&peer.id) {
                self.lately.merge(&heads.since(before));
            }
            seen.insert(peer.id, heads);
        }
        self.seen = seen;
        while self.lately.total() > ENOUGH {
            self.lately.halve();
        }
    }
}

/// Whether any location goes by a percentile.
fn is_wanted(config: &Config) -> bool {
    let locations = config.servers.iter().flat_map(|server| &server.locations);
    locations.map(|location| location.proxy.hedge_after).any(|after| matches!(after, Some(HedgeAfter::Percentile(_))))
}
