//! Who beside the file knows servers? The checked form of `consul`.

use std::fmt;

use super::peer::Address;

/// `consul = { … }`: the passing instances of a service in Consul's catalogue.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Consul {
    /// `service`.
    pub service: String,
    /// `address`: where an agent's HTTP API is; never [`Address::Service`].
    pub address: Address,
    /// `tag`: only instances with it.
    pub tag: Option<String>,
    /// `datacenter`; `None`: the agent's own.
    pub datacenter: Option<String>,
    /// `token`: the ACL token.
    pub token: Option<String>,
}

/// Without the token, which is nobody's business in a log.
impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        let mut shown = f.debug_struct("Consul");
        shown.field("service", &self.service).field("address", &self.address).field("tag", &self.tag);
        shown.field("datacenter", &self.datacenter).field("token", &token).finish()
    }
}
