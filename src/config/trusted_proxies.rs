//! Whose word about a client is believed? (nginx: `set_real_ip_from`.)

use std::net::IpAddr;

use ipnet::IpNet;

use crate::endpoint::ClientAddr;

/// `trusted_proxies`: networks, and perhaps whoever connects to a unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl TrustedProxies {
    /// Trusts these networks, and with `unix` every client of a unix socket.
    pub fn new(networks: Vec<IpNet>, unix: bool) -> TrustedProxies {
        TrustedProxies { networks, unix }
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether `sender` may speak for others.
    #[inline]
    pub fn trusts(&self, sender: ClientAddr) -> bool {
        if self.is_empty() {
            return false;
        }
        match sender {
            ClientAddr::Ip(address) => self.trusts_ip(address.ip()),
            ClientAddr::Unix => self.unix,
        }
    }

    /// Whether somebody at `address` may speak for others. An IPv4-mapped address is that of IPv4.
    pub fn trusts_ip(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|net| net.contains(&address))
    }
}
