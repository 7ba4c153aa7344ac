//! What would a configuration change, and what of that would be felt by requests in flight? Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::publisher::needs_restart;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::topology::{Change, Topology};

/// The difference between what runs and a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One line, as the log would have it.
    pub changes: String,
    /// Whether there is a difference at all.
    pub differs: bool,
    /// Peers that would go: they finish what they have.
    pub peers_removed: Vec<Leaving>,
    /// Addresses that would no longer be listened on, those of streams among them: their connections live on, new ones are
    /// refused. Sessions of UDP (`udp:ADDRESS`) end.
    pub listeners_removed: Vec<String>,
    /// Overrides and added servers that would end, each as a sentence.
    pub ended: Vec<String>,
    /// Settings that would take effect at the next start only.
    pub needs_restart: Vec<String>,
}

/// A peer that would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// `group/ip:port`.
    pub peer: String,
    /// Its requests in flight now.
    pub active: u32,
}

impl Plan {
    /// Of this configuration in place of the one in force.
    pub fn of(topology: &Topology, config: Config, now: Timestamp) -> Plan {
        let needs_restart = needs_restart(topology.config(), &config).into_iter().map(str::to_owned).collect();
        // Nothing happens to anybody: this snapshot is never published.
        let (next, applied) = topology.apply(Change::Config(Arc::new(config)), now);
        let leaving = applied
            .peers_removed
            .iter()
            .map(|peer| Leaving { peer: format!("{}/{}", peer.group.name, peer.name), active: peer.in_flight() });
        Plan {
            changes: applied.to_string(),
            differs: !applied.is_empty(),
            peers_removed: leaving.collect(),
            listeners_removed: listeners_removed(topology, &next),
            ended: applied.ended.iter().map(ToString::to_string).collect(),
            needs_restart,
        }
    }

    /// Whether somebody would notice: a peer goes that has requests in flight, or an address is no longer listened on.
    pub fn drops(&self) -> bool {
        self.peers_removed.iter().any(|peer| peer.active > 0) || !self.listeners_removed.is_empty()
    }
}

fn listeners_removed(before: &Topology, after: &Topology) -> Vec<String> {
    let tcp = |topology: &Topology| -> Vec<Endpoint> {
        let servers = topology.listeners().iter().map(|spec| spec.address.clone());
        servers
            .chain(topology.streams().iter().filter(|spec| !spec.route.udp).map(|spec| spec.address.clone()))
            .collect()
    };
    let udp = |topology: &Topology| -> Vec<Endpoint> {
        topology.streams().iter().filter(|spec| spec.route.udp).map(|spec| spec.address.clone()).collect()
    };
    let (still, still_udp) = (tcp(after), udp(after));
    let gone = tcp(before).into_iter().filter(|address| !still.contains(address)).map(|address| address.to_string());
    let gone_udp = udp(before).into_iter().filter(|address| !still_udp.contains(address));
    gone.chain(gone_udp.map(|address| format!("udp:{address}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};

    fn parsed(text: &str) -> Config {
        config::parse("upstream.toml", text, &Env::default()).expect("a good file").config
    }

    fn plan(before: &str, after: &str) -> Plan {
        let before = Topology::build_seeded(Arc::new(parsed(before)), 1, Timestamp::ZERO);
        Plan::of(&before, parsed(after), Timestamp::ZERO)
    }

    const WEB: &str = "[[server]]\nlisten = \"127.0.0.1:8080\"\n[[server.location]]\npath = \"/\"\nreturn = 404\n";
    const DB: &str = "[upstream.db]\nservers = [\"127.0.0.1:5432\"]\n";
    const TCP: &str = "[[stream]]\nlisten = \"127.0.0.1:5433\"\nproxy_pass = \"db\"\n";
    const UDP: &str = "[[stream]]\nlisten = { address = \"127.0.0.1:5433\", udp = true }\nproxy_pass = \"db\"\n";

    #[test]
    fn an_address_that_is_no_longer_listened_on_drops_whoever_comes() {
        let all = format!("{DB}{WEB}{TCP}{UDP}");
        // what stays; what is gone
        let table = [
            (format!("{DB}{WEB}{TCP}{UDP}"), vec![]),
            (format!("{DB}{TCP}{UDP}"), vec!["127.0.0.1:8080"]),
            (format!("{DB}{WEB}{UDP}"), vec!["127.0.0.1:5433"]),
            (format!("{DB}{WEB}{TCP}"), vec!["udp:127.0.0.1:5433"]),
        ];
        for (after, gone) in table {
            let plan = plan(&all, &after);
            assert_eq!(plan.listeners_removed, gone);
            assert_eq!(plan.drops(), !gone.is_empty(), "{gone:?}");
        }
    }

    #[test]
    fn an_address_that_a_stream_takes_from_a_server_is_listened_on_still() {
        let stream = TCP.replace("5433", "8080");
        assert!(!plan(&format!("{DB}{WEB}"), &format!("{DB}{stream}")).drops());
    }
}
