//! What is known of the clients that limits count, whatever is reloaded around it?

use std::sync::Arc;

use crate::config::model::{Config, LimitConnZone, LimitReqZone, Location};
use crate::shape::{Buckets, ConnectionLimit, Connections, RequestLimit};

/// The zones that locations use. One that keeps its name and key keeps its clients; its rate and size may change.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones {
    requests: Vec<(Arc<LimitReqZone>, Arc<Buckets>)>,
    connections: Vec<(Arc<LimitConnZone>, Arc<Connections>)>,
}

/// What the requests of a location must pass, in the order of `config.limits`.
#[derive(Debug, Default)]
pub struct Gates {
    /// `limit_req`.
    pub requests: Vec<RequestLimit>,
    /// `limit_conn`.
    pub connections: Vec<ConnectionLimit>,
}

impl Gates {
    /// Whether every request may go on.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.connections.is_empty()
    }
}

impl Zones {
    /// Those of another configuration.
    pub fn after(&self, config: &Config) -> Zones {
        let mut zones = Zones::default();
        for location in config.servers.iter().flat_map(|server| &server.locations) {
            for zone in location.limits.requests.iter().map(|limit| &limit.zone) {
                if !zones.requests.iter().any(|(known, _)| known.name == zone.name) {
                    let same = |(old, _): &&(Arc<LimitReqZone>, _)| (&old.name, &old.key) == (&zone.name, &zone.key);
                    let kept = self.requests.iter().find(same).map(|(_, buckets)| buckets.clone());
                    zones.requests.push((zone.clone(), kept.unwrap_or_default()));
                }
            }
            for zone in location.limits.connections.iter().map(|limit| &limit.zone) {
                if !zones.connections.iter().any(|(known, _)| known.name == zone.name) {
                    let same = |(old, _): &&(Arc<LimitConnZone>, _)| (&old.name, &old.key) == (&zone.name, &zone.key);
                    let kept = self.connections.iter().find(same).map(|(_, counts)| counts.clone());
                    zones.connections.push((zone.clone(), kept.unwrap_or_default()));
                }
            }
        }
        zones
    }

    /// The limits of a location of the configuration that these are the zones of.
    pub fn gates(&self, location: &Location) -> Gates {
        let requests = location.limits.requests.iter().filter_map(|limit| {
            let (zone, buckets) = self.requests.iter().find(|(zone, _)| zone.name == limit.zone.name)?;
            Some(RequestLimit {
                buckets: buckets.clone(),
                rate: zone.rate,
                clients: zone.clients,
                burst: limit.burst,
                delay: limit.delay,
            })
        });
        let connections = location.limits.connections.iter().filter_map(|limit| {
            let (zone, counts) = self.connections.iter().find(|(zone, _)| zone.name == limit.zone.name)?;
            Some(ConnectionLimit { zone: counts.clone(), clients: zone.clients, connections: limit.connections })
        });
        Gates { requests: requests.collect(), connections: connections.collect() }
    }
}
