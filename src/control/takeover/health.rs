//! What does a predecessor know of peers that its successor should not find out at a client's cost?
//!
//! A successor looks for itself before it accepts: names are resolved, first probes made. What it is told is which groups
//! could serve, so that it knows what to wait for, and which peers fail requests, for where there is no health check only
//! requests find that out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::health::{Admission, State};
use crate::topology::{Group, PeerTransition, Topology};

/// How long a successor waits for names and first probes, once every group can serve.
const SETTLE: Duration = Duration::from_secs(3);
/// How long it waits for every group to be able to serve that could serve before.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the predecessor knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Groups with a peer for ordinary requests.
    able: Vec<String>,
    /// Peers that fail requests.
    failing: Vec<Failing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failing {
    group: String,
    server: String,
    addr: String,
}

/// Whether a successor may accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It may.
    Clear,
    /// Not yet.
    Unclear,
    /// These groups could serve before, and cannot here.
    Worse(Vec<String>),
}

impl Known {
    /// Of this snapshot.
    pub(super) fn of(topology: &Topology, now: Timestamp) -> Known {
        let able = topology.groups().iter().filter(|group| is_able(group, now));
        let failing = topology.peers().filter(|(group, peer)| {
            let state = peer.cell.verdict(now).state;
            // Without a check, one that is looked at has failed.
            state == State::Unavail || (state == State::Checking && group.config.health_check.is_none())
        });
        Known {
            able: able.map(|group| group.name().to_owned()).collect(),
            failing: failing
                .map(|(group, peer)| Failing {
                    group: group.name().to_owned(),
                    server: peer.text.to_string(),
                    addr: peer.addr.to_string(),
                })
                .collect(),
        }
    }

    /// How it looks in the successor, which has been looking for so long.
    pub(super) fn outlook(&self, topology: &Topology, looked: Duration, now: Timestamp) -> Outlook {
        let groups = self.able.iter().filter_map(|name| topology.group_named(name));
        let lacking: Vec<String> =
            groups.filter(|group| !is_able(group, now)).map(|group| group.name().to_owned()).collect();
        let settled = || {
            topology.names().into_iter().all(|name| topology.addresses(name).is_some())
                && topology.services().into_iter().all(|name| topology.targets(name).is_some())
                && topology.peers().all(|(_, peer)| peer.cell.admission(now) != Admission::Unprobed)
        };
        match lacking.is_empty() {
            true if looked >= SETTLE || settled() => Outlook::Clear,
            false if looked >= PATIENCE => Outlook::Worse(lacking),
            _ => Outlook::Unclear,
        }
    }

    /// Tells the successor's peers what is known of them.
    pub(super) fn tell(&self, topology: &Topology, now: Timestamp) -> Vec<PeerTransition> {
        let mut transitions = Vec::new();
        for failing in &self.failing {
            let Some(group) = topology.group_named(&failing.group) else { continue };
            let same = |addr: &Endpoint| addr.to_string() == failing.addr;
            for seat in group.seats().filter(|seat| *seat.peer.text == *failing.server && same(&seat.peer.addr)) {
                let why = "requests failed in the weir that ran before".into();
                transitions.extend(seat.peer.observe_failures(seat.server.max_fails, why, now));
            }
        }
        transitions
    }
}

fn is_able(group: &Group, now: Timestamp) -> bool {
    group.seats().any(|seat| seat.peer.cell.admission(now) == Admission::Ordinary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};
    use std::net::SocketAddr;
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp::ZERO;

    fn topology(text: &str) -> Topology {
        let loaded = config::parse("upstream.toml", text, &Env::default()).expect("a good file");
        Topology::build(Arc::new(loaded.config), b"secret", NOW)
    }

    const PLAIN: &str = "[upstream.web]\nservers = [\"127.0.0.1:1\", { address = \"127.0.0.1:2\", max_fails = 2 }]\n";

    fn state(topology: &Topology, addr: &str) -> State {
        let addr: SocketAddr = addr.parse().expect("an address");
        let found = topology.peers().find(|(_, peer)| peer.addr == Endpoint::Ip(addr));
        found.expect("a peer").1.cell.verdict(NOW).state
    }

    #[test]
    fn peers_that_fail_requests_fail_in_the_successor_too() {
        let before = topology(PLAIN);
        let two: SocketAddr = "127.0.0.1:2".parse().expect("an address");
        let (_, peer) = before.peers().find(|(_, peer)| peer.addr == Endpoint::Ip(two)).expect("a peer");
        assert!(peer.observe_failures(2, "refused".into(), NOW).is_some());
        let known = Known::of(&before, NOW);
        assert_eq!(known.able, ["web"]);
        let after = topology(PLAIN);
        assert_eq!(known.outlook(&after, Duration::ZERO, NOW), Outlook::Clear);
        assert_eq!(known.tell(&after, NOW).len(), 1);
        assert_eq!((state(&after, "127.0.0.1:1"), state(&after, "127.0.0.1:2")), (State::Up, State::Unavail));
    }

    #[test]
    fn a_group_that_could_serve_must_be_able_to() {
        let known = Known { able: vec!["web".to_owned(), "gone".to_owned()], failing: Vec::new() };
        let checked = topology(&format!("{PLAIN}[upstream.web.health_check]\nuri = \"/\"\n"));
        let outlook = |looked| known.outlook(&checked, looked, NOW);
        assert_eq!(outlook(Duration::ZERO), Outlook::Unclear);
        assert_eq!(outlook(SETTLE), Outlook::Unclear);
        assert_eq!(outlook(PATIENCE), Outlook::Worse(vec!["web".to_owned()]));
        let unable = Known::default();
        assert_eq!(unable.outlook(&checked, Duration::ZERO, NOW), Outlook::Unclear, "first probes are awaited");
        assert_eq!(unable.outlook(&checked, SETTLE, NOW), Outlook::Clear);
    }

    #[test]
    fn names_are_awaited_for_a_while() {
        let named = topology("[upstream.web]\nservers = [\"app:5000\"]\n");
        let known = Known::of(&named, NOW);
        assert_eq!(known, Known::default());
        assert_eq!(known.outlook(&named, Duration::ZERO, NOW), Outlook::Unclear);
        assert_eq!(known.outlook(&named, SETTLE, NOW), Outlook::Clear);
    }
}
