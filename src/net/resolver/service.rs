//! Where is a service? SRV records and the addresses of their targets. (RFC 2782)

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::{Answer, Dns, Family, TTL_FLOOR, in_words, join};

/// One address that a service's records lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The lower, the earlier it is asked.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// An address of the record's target, and the record's port.
    pub addr: SocketAddr,
}

impl Dns {
    /// As [`Dns::ask`], for the whole name of a service.
    pub(super) async fn locate(&self, service: &str) -> Answer<Vec<Located>> {
        let located = async |name: Name| match self.records(name, RecordType::SRV).await {
            Ok(Some(lookup)) => self.follow(&lookup).await,
            Ok(None) => Answer::NoSuchName,
            Err(why) => Answer::Failed(why),
        };
        self.first(service, located).await
    }

    /// The records of a name; `Ok(None)`: it has none.
    pub(super) async fn records(&self, name: Name, kind: RecordType) -> Result<Option<Lookup>, String> {
        match self.client.lookup(name, kind).await {
            Ok(lookup) => Ok(Some(lookup)),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
            {
                Ok(None)
            }
            Err(error) => Err(in_words(&error)),
        }
    }

    /// The addresses of all targets. Servers that know them send them along.
    async fn follow(&self, lookup: &Lookup) -> Answer<Vec<Located>> {
        let mut located = Vec::new();
        let mut valid = self.cap;
        for record in lookup.answers() {
            let RData::SRV(srv) = &record.data else { continue };
            // "." says that the service is not to be had here.
            if srv.target.is_root() {
                continue;
            }
            let addrs = match addresses_of(&srv.target, lookup.additionals()) {
                along if !along.is_empty() => along,
                _ => {
                    let (v4, v6) = tokio::join!(
                        self.lookup(&srv.target, RecordType::A),
                        self.lookup(&srv.target, RecordType::AAAA)
                    );
                    match join(v4, v6, self.cap) {
                        Answer::Found { addrs, valid: of_target } => {
                            valid = valid.min(of_target);
                            addrs
                        }
                        Answer::NoSuchName => continue,
                        Answer::Failed(why) => return Answer::Failed(format!("{}: {why}", srv.target)),
                    }
                }
            };
            valid = valid.min(Duration::from_secs(record.ttl.into()));
            let of_addr = |addr: IpAddr| Located {
                priority: srv.priority,
                weight: srv.weight,
                addr: SocketAddr::new(addr, srv.port),
            };
            located.extend(addrs.into_iter().map(of_addr).filter(|located| located.addr.port() != 0));
        }
        located.sort_unstable_by_key(|located| (located.addr, located.priority));
        located.dedup_by_key(|located| located.addr);
        if located.is_empty() {
            return Answer::NoSuchName;
        }
        Answer::Found { addrs: located, valid: valid.max(TTL_FLOOR) }
    }

    /// One family of a name's addresses.
    pub(super) async fn lookup(&self, name: &Name, kind: RecordType) -> Family {
        let lookup = match self.records(name.clone(), kind).await {
            Ok(Some(lookup)) => lookup,
            Ok(None) => return Family::Empty,
            Err(why) => return Family::Failed(why),
        };
        let records = lookup.answers();
        let addrs: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        if addrs.is_empty() { Family::Empty } else { Family::Found(addrs, Duration::from_secs(ttl.into())) }
    }
}

fn addresses_of(target: &Name, additionals: &[Record]) -> Vec<IpAddr> {
    let of_target = additionals.iter().filter(|record| record.name == *target);
    of_target.filter_map(|record| record.data.ip_addr()).collect()
}
