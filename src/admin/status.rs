//! How are the groups and their peers? `/status`, in a shape that stays: what `weir status` and `weir wait` read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balancer::Measure;
use crate::clock::Timestamp;
use crate::health::{State, Tier};
use crate::share::FULL;
use crate::topology::{Group, Override, Seat, Subject, Topology};

/// The whole of it. Keys may be added; those that are there keep their meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of weir.
    pub version: String,
    /// Of the process.
    pub pid: u32,
    /// In the order of the file.
    pub groups: Vec<GroupStatus>,
}

/// An `[upstream.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// NAME.
    pub name: String,
    /// Requests that wait in its `queue`; absent: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<usize>,
    /// Primaries, then backups.
    pub peers: Vec<PeerStatus>,
    /// Servers whose name has no address.
    pub unresolved: Vec<String>,
}

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// As in the API: told apart from every other peer of this process.
    pub id: u64,
    /// The server as written.
    pub name: String,
    /// Its own name (of a replica), where reverse DNS tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// `ip:port`.
    pub address: String,
    /// `backup`.
    pub backup: bool,
    /// `up`, `draining`, `down`, `unavail`, `checking` or `unhealthy`.
    pub state: String,
    /// Why, in a sentence.
    pub reason: String,
    /// How long it has been so, in milliseconds.
    pub since_ms: u64,
    /// In force, overrides included.
    pub weight: u32,
    /// Its share of its weight while it ramps up, in percent; absent: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp_percent: Option<u32>,
    /// Requests in flight.
    pub active: u32,
    /// 0: no limit.
    pub max_conns: u32,
    /// Attempts.
    pub requests: u64,
    /// Attempts that failed.
    pub fails: u64,
    /// How the latest probe went; absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_passed: Option<bool>,
    /// Moving average until the head of an answer, in milliseconds; absent: none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_time_ms: Option<f64>,
    /// Moving average until its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time_ms: Option<f64>,
    /// What operators want of it.
    pub overrides: Vec<OverrideStatus>,
}

/// An operator's value in place of the file's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// `drain`, `down`, `up`, `weight 5`, …
    pub what: String,
    /// Who made it.
    pub by: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long ago, in milliseconds.
    pub since_ms: u64,
    /// How long it still holds, in milliseconds; absent: until it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

impl Status {
    /// Of this snapshot at this moment.
    pub fn of(topology: &Topology, now: Timestamp) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            groups: topology.groups().iter().map(|group| GroupStatus::of(group, now)).collect(),
        }
    }

    /// Of these peers alone.
    pub(super) fn only(mut self, target: &Subject) -> Status {
        let addr = target.addr.map(|addr| addr.to_string());
        self.groups.retain(|group| *group.name == *target.group);
        for group in &mut self.groups {
            group.unresolved.retain(|name| **name == *target.server);
            group.peers.retain(|peer| *peer.name == *target.server);
            group.peers.retain(|peer| addr.as_ref().is_none_or(|addr| peer.address == *addr));
        }
        self
    }
}

impl GroupStatus {
    fn of(group: &Group, now: Timestamp) -> GroupStatus {
        let peers = group.tiers().iter().flat_map(|tier| {
            let backup = tier.which == Tier::Backup;
            tier.seats.iter().map(move |seat| PeerStatus::of(seat, backup, now))
        });
        let resolved = |text: &str| group.seats().any(|seat| *seat.peer.text == *text);
        let servers = group.config.servers.iter().map(|server| &*server.text);
        GroupStatus {
            name: group.name().to_owned(),
            waiting: group.config.queue.map(|_| group.waiting()),
            peers: peers.collect(),
            unresolved: servers.filter(|text| !resolved(text)).map(str::to_owned).collect(),
        }
    }
}

impl PeerStatus {
    pub(super) fn of(seat: &Seat, backup: bool, now: Timestamp) -> PeerStatus {
        use std::sync::atomic::Ordering::Relaxed;
        let peer = &seat.peer;
        let verdict = peer.cell.verdict(now);
        let average = |measure| peer.latency.average(measure).map(|time| time.as_secs_f64() * 1e3);
        PeerStatus {
            id: peer.id.number(),
            name: peer.text.to_string(),
            replica: peer.replica().map(|name| name.to_string()),
            address: peer.name.to_string(),
            backup,
            state: verdict.state.name().to_owned(),
            reason: verdict.reason.to_string(),
            since_ms: millis(now.since(verdict.since)),
            weight: seat.server.weight,
            ramp_percent: (verdict.state == State::Up && verdict.ramp < FULL).then(|| verdict.ramp * 100 / FULL),
            active: peer.in_flight(),
            max_conns: seat.server.max_conns,
            requests: peer.tally.requests.load(Relaxed),
            fails: peer.tally.fails.load(Relaxed),
            last_probe_passed: verdict.last_probe_passed,
            header_time_ms: average(Measure::Header),
            response_time_ms: average(Measure::LastByte),
            overrides: seat.overrides.iter().map(|over| OverrideStatus::of(over, now)).collect(),
        }
    }
}

impl OverrideStatus {
    fn of(over: &Override, now: Timestamp) -> OverrideStatus {
        OverrideStatus {
            what: over.setting.to_string(),
            by: over.by.to_string(),
            reason: over.reason.as_deref().map(str::to_owned),
            since_ms: millis(now.since(over.since)),
            left_ms: over.until.map(|until| millis(until.since(now))),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
