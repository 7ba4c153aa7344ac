//! How does a probe speak TLS? As requests to the same peer do: with the same trust and the same name.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Wire, connect};
use crate::tls::{self, Connector, ServerName};

/// What the peer's group says of TLS, and the peer's own name or address.
#[derive(Clone, Debug)]
pub struct Tls {
    /// How handshakes with the group's peers begin.
    pub connector: Arc<Connector>,
    /// The name of this peer.
    pub name: String,
}

/// A handshake that can be made again and again.
#[derive(Debug)]
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    /// Or why there is none.
    name: Result<ServerName<'static>, String>,
}

impl Handshake {
    /// With `protocol` alone inside (ALPN).
    pub(super) fn new(tls: &Tls, protocol: &[u8]) -> Handshake {
        let mut config = ClientConfig::clone(tls.connector.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = tls.connector.name_for(&tls.name).map_err(|error| tls::describe(&error));
        Handshake { config: Arc::new(config), name }
    }

    /// Makes the connection one within TLS, or says why not.
    pub(super) async fn begin<T: Wire>(&self, wire: T) -> Result<TlsStream<T>, String> {
        let name = self.name.clone()?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, wire).await.map_err(|error| describe(&error))
    }
}

fn describe(error: &io::Error) -> String {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<tls::Error>());
    match refused {
        Some(refused) => format!("TLS: {}", tls::describe(refused)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "TLS: the connection was closed within the handshake".to_owned()
        }
        None => format!("TLS: {}", connect::describe(error)),
    }
}
