//! Which instances of a service pass their checks? Consul's health API with blocking queries.
//! (`/v1/health/service/NAME?passing`, <https://developer.hashicorp.com/consul/api-docs/health>)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::super::discovery::Resolving;
use super::client::{self, escaped};
use super::{Outage, Told};
use crate::clock::{Clock, Timestamp};
use crate::config::model::{self, Address, UpstreamServer};
use crate::net::resolver::Answer;
use crate::topology::Source;

/// How long the agent may hold a question back until something changes. It adds up to a sixteenth.
const WAIT: Duration = Duration::from_secs(60);
/// What is added for the way.
const LIMIT: Duration = Duration::from_secs(10);
/// Between the beginnings of two questions.
const AT_MOST: Duration = Duration::from_millis(500);
/// Nobody is left only if that has been said twice, so far apart: an agent that has just started knows nobody yet.
const TWICE: Duration = Duration::from_secs(2);

/// One service.
pub(super) struct Follow {
    group: Arc<str>,
    service: model::Consul,
    resolving: Resolving,
    told: Told,
    clock: Clock,
}

/// One instance, as the API lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Instance,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    #[serde(default)]
    address: String,
    port: u16,
    weights: Option<Weights>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
}

impl Follow {
    /// The instances of `service` as peers of `group`.
    pub(super) fn new(group: Arc<str>, service: model::Consul, resolving: Resolving, told: Told) -> Follow {
        Follow { group, service, resolving, told, clock: Clock::process() }
    }

    /// Asks again and again.
    pub(super) async fn run(self) {
        let mut outage = Outage::of(format!("{}: consul", self.group));
        let (mut index, mut empty_since): (u64, Option<Timestamp>) = (0, None);
        loop {
            let begun = self.clock.now();
            match self.ask(index).await {
                Err(why) => {
                    index = 0;
                    sleep(outage.failed(&why)).await;
                }
                Ok((next, servers)) => {
                    outage.over();
                    // An index that goes back begins anew (blocking queries, "implementation details").
                    index = if next < index { 0 } else { next };
                    if servers.is_empty() && self.has_peers() && !twice(&mut empty_since, begun) {
                        index = 0;
                        sleep(TWICE).await;
                        continue;
                    }
                    if !servers.is_empty() {
                        empty_since = None;
                    }
                    self.told.publish(&self.group, Source::Consul, "consul", servers);
                    let pause = if index == 0 { TWICE } else { AT_MOST };
                    sleep_until(self.clock.instant(begun + pause)).await;
                }
            }
        }
    }

    fn has_peers(&self) -> bool {
        let topology = self.told.live.load();
        topology.discovered(&self.group, Source::Consul).is_some_and(|peers| !peers.is_empty())
    }

    /// One question: the index for the next, and who passes.
    async fn ask(&self, index: u64) -> Result<(u64, Vec<UpstreamServer>), String> {
        let addr = self.agent().await?;
        let connected = timeout(LIMIT, TcpStream::connect(addr)).await;
        let wire = connected.map_err(|_| format!("no connection to {addr} within {LIMIT:?}"))?;
        let wire = wire.map_err(|error| format!("cannot connect to {addr}: {error}"))?;
        let token = self.service.token.as_deref().map(|token| ("x-consul-token", token));
        let wait = if index == 0 { Duration::ZERO } else { WAIT + WAIT / 16 };
        let answer = client::get(wire, &addr.to_string(), &self.target(index), token, wait + LIMIT).await?;
        let next = answer.headers.get("x-consul-index").and_then(|text| text.to_str().ok()?.parse().ok()).unwrap_or(0);
        let entries: Vec<Entry> = serde_json::from_slice(&answer.whole(LIMIT).await?)
            .map_err(|error| format!("the list of instances is not understood: {error}"))?;
        Ok((next, servers(&entries)))
    }

    fn target(&self, index: u64) -> String {
        let mut target = format!("/v1/health/service/{}?passing=1", escaped(&self.service.service));
        for (key, value) in [("tag", &self.service.tag), ("dc", &self.service.datacenter)] {
            if let Some(value) = value {
                target += &format!("&{key}={}", escaped(value));
            }
        }
        if index > 0 {
            target += &format!("&index={index}&wait={}s", WAIT.as_secs());
        }
        target
    }

    async fn agent(&self) -> Result<SocketAddr, String> {
        match &self.service.address {
            Address::Ip(addr) => Ok(*addr),
            Address::Name { host, port } => match self.resolving.resolver().resolve(host).await {
                Answer::Found { addrs, .. } => {
                    addrs.first().map(|addr| SocketAddr::new(*addr, *port)).ok_or(format!("{host} has no address"))
                }
                Answer::NoSuchName => Err(format!("there is no such name: {host}")),
                Answer::Failed(why) => Err(format!("cannot resolve {host}: {why}")),
            },
            _ => Err("its address is none of an agent".to_owned()),
        }
    }
}

/// Whether it has been so since long enough before `now`.
fn twice(since: &mut Option<Timestamp>, now: Timestamp) -> bool {
    now.since(*since.get_or_insert(now)) >= TWICE
}

/// The instances as servers, in order, so that several weirs agree. An instance without an address has its node's; one
/// without a port is none that could be asked.
fn servers(entries: &[Entry]) -> Vec<UpstreamServer> {
    let server = |entry: &Entry| {
        let host = Some(&entry.service.address).filter(|address| !address.is_empty()).unwrap_or(&entry.node.address);
        let port = Some(entry.service.port).filter(|port| *port > 0)?;
        let address = match host.parse() {
            Ok(ip) => Address::Ip(SocketAddr::new(ip, port)),
            Err(_) => Address::name(host, port)?,
        };
        let text = match &address {
            Address::Ip(addr) => addr.to_string(),
            _ => format!("{host}:{port}"),
        };
        let weight = entry.service.weights.as_ref().map_or(1, |weights| weights.passing.clamp(1, 65_535));
        Some(UpstreamServer { weight, ..UpstreamServer::plain(&text, address) })
    };
    let mut servers: Vec<UpstreamServer> = entries.iter().filter_map(server).collect();
    servers.sort_by(|a, b| a.text.cmp(&b.text));
    servers.dedup_by(|a, b| a.text == b.text);
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_servers_at_their_own_address_or_their_nodes() {
        let text = r#"[
            {"Node": {"Node": "n1", "Address": "10.0.0.9"}, "Checks": [],
             "Service": {"ID": "web-2", "Service": "web", "Address": "", "Port": 8080, "Weights": {"Passing": 5, "Warning": 1}}},
            {"Node": {"Node": "n2", "Address": "10.0.0.8"}, "Checks": [],
             "Service": {"ID": "web-1", "Service": "web", "Address": "10.0.0.1", "Port": 8080}},
            {"Node": {"Node": "n3", "Address": "10.0.0.7"}, "Service": {"ID": "x", "Address": "app.example", "Port": 1}},
            {"Node": {"Node": "n3", "Address": "10.0.0.7"}, "Service": {"ID": "y", "Address": "a b", "Port": 1}},
            {"Node": {"Node": "n3", "Address": "10.0.0.7"}, "Service": {"ID": "z", "Address": "", "Port": 0}}
        ]"#;
        let entries: Vec<Entry> = serde_json::from_str(text).expect("as the API answers");
        let shown: Vec<String> =
            servers(&entries).iter().map(|server| format!("{} {}", server.text, server.weight)).collect();
        assert_eq!(shown, ["10.0.0.1:8080 1", "10.0.0.9:8080 5", "app.example:1 1"]);
    }
}
