//! Which peers stand out among their peers? At an interval, where an upstream has `outliers`: what each peer did since
//! the last look is counted and compared, and its health hears of it. Requests are not involved.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::announce::Announcer;
use crate::balancer::Distribution;
use crate::clock::{Clock, Timestamp};
use crate::config::model;
use crate::health::State;
use crate::health::outlier::{self, Sample};
use crate::id::{GroupId, PeerId};
use crate::topology::{Group, Live, Peer, PeerTransition, Tier};

/// Compares the peers of the snapshot.
pub struct Outliers {
    live: Arc<Live>,
    announcer: Arc<Announcer>,
    rounds: HashMap<GroupId, Round>,
}

/// An interval of one group.
struct Round {
    began: Timestamp,
    ends: Timestamp,
    totals: HashMap<PeerId, Totals>,
}

/// What a peer had done when the interval began.
struct Totals {
    requests: u64,
    fails: u64,
    errors: u64,
    heads: Distribution,
}

impl Outliers {
    /// Compares the peers of `live`, and tells `announcer` what changes by it.
    pub fn new(live: Arc<Live>, announcer: Arc<Announcer>) -> Outliers {
        Outliers { live, announcer, rounds: HashMap::new() }
    }

    /// Looks when an interval is over, and follows the snapshot.
    pub async fn run(mut self, mut version: watch::Receiver<u64>) {
        let clock = Clock::process();
        loop {
            self.look(clock.now());
            let next = self.rounds.values().map(|round| round.ends).min();
            let over = async {
                match next {
                    Some(next) => sleep_until(clock.instant(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                changed = version.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends the rounds that are over, and begins those that are due.
    fn look(&mut self, now: Timestamp) {
        let topology = self.live.load();
        let rule = |group: &Arc<Group>| group.config.outliers.map(|rule| (Arc::clone(group), rule));
        let groups: Vec<(Arc<Group>, model::Outliers)> = topology.groups().iter().filter_map(rule).collect();
        self.rounds.retain(|id, _| groups.iter().any(|(group, _)| group.id() == *id));
        for (group, rule) in groups {
            if let Some(round) = self.rounds.get_mut(&group.id()) {
                // A reload may have changed the interval.
                round.ends = round.began + rule.interval;
                if now < round.ends {
                    continue;
                }
                for tier in group.tiers() {
                    for changed in round.compare(tier, &rule.rule, now) {
                        self.announcer.transition(&changed);
                    }
                }
            }
            self.rounds.insert(group.id(), Round::begin(&group, now, now + rule.interval));
        }
    }
}

impl Round {
    fn begin(group: &Group, began: Timestamp, ends: Timestamp) -> Round {
        let totals = |peer: &Arc<Peer>| {
            peer.latency.count_heads();
            (peer.id, Totals::of(peer))
        };
        Round { began, ends, totals: group.seats().map(|seat| totals(&seat.peer)).collect() }
    }

    /// Compares those of a tier that were up all the time, and tells each how it did.
    fn compare<'t>(&self, tier: &'t Tier, rule: &outlier::Rule, now: Timestamp) -> Vec<PeerTransition> {
        let was_up = |peer: &Peer| {
            let verdict = peer.cell.verdict(now);
            verdict.state == State::Up && verdict.since <= self.began
        };
        let peers = tier.seats.iter().map(|seat| &seat.peer).filter(|peer| was_up(peer));
        let did = |peer: &'t Arc<Peer>| self.totals.get(&peer.id).map(|before| (peer, Totals::of(peer).since(before)));
        let (peers, samples): (Vec<&'t Arc<Peer>>, Vec<Sample>) = peers.filter_map(did).unzip();
        let found = outlier::outliers(&samples, rule);
        let compared = peers.into_iter().zip(samples).zip(found).filter(|((_, sample), _)| sample.suffices(rule));
        compared.filter_map(|((peer, _), found)| peer.observe_comparison(self.began, found, now)).collect()
    }
}

impl Totals {
    fn of(peer: &Peer) -> Totals {
        let total = |count: &AtomicU64| count.load(Relaxed);
        let [_, _, _, _, errors] = &peer.tally.responses;
        Totals {
            requests: total(&peer.tally.requests),
            fails: total(&peer.tally.fails),
            errors: total(errors),
            heads: peer.latency.heads().unwrap_or_default(),
        }
    }

    /// Statistics that were reset meanwhile leave nothing to tell.
    fn since(&self, before: &Totals) -> Sample {
        let heads = self.heads.since(&before.heads);
        let fails = self.fails.saturating_sub(before.fails);
        let errors = self.errors.saturating_sub(before.errors);
        Sample {
            requests: self.requests.saturating_sub(before.requests),
            // An answer 5xx that `proxy_next_upstream` names is in both.
            failures: fails.max(errors),
            answers: heads.total(),
            median: heads.quantile(50),
        }
    }
}
