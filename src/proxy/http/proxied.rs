//! Whose connection is this really? What a PROXY header says of a connection of HTTP.

use super::connection::{Client, Connection};
use super::side::Side;
use crate::endpoint::ClientAddr;
use crate::proxy::introduction;
use crate::proxy_protocol::Addresses;

/// What a connection's PROXY header said, and who said it.
#[derive(Clone, Debug)]
pub struct Proxied {
    /// The client, and what it connected to.
    pub addresses: Addresses,
    /// The other end of the socket: the proxy.
    pub sender: ClientAddr,
}

impl Client {
    /// The other end of the socket, whatever its PROXY header says.
    pub fn sender(&self) -> ClientAddr {
        self.proxied.as_ref().map_or(self.remote, |proxied| proxied.sender)
    }
}

impl Connection {
    /// Reads the PROXY header before anything else, within `client_header_timeout`: its addresses are the client's. False:
    /// there is none that could be believed, which was logged, and the connection ends.
    pub(super) async fn proxy_header(&mut self) -> bool {
        let limit = self.header_timeout();
        let Connection { stream, deadline, worker, client, .. } = self;
        // What stands at the front of a connection is read before it is anything else.
        let Side::Http1(stream) = stream else { return true };
        let sender = client.remote;
        let read = introduction::read(worker, stream, deadline, (sender, &client.listener), limit).await;
        if let Some(Some(addresses)) = read {
            client.remote = addresses.source.into();
            client.local = addresses.destination.into();
            client.proxied = Some(Box::new(Proxied { addresses, sender }));
        }
        read.is_some()
    }
}
