//! How is a peer connected to? The socket, then a PROXY header, then TLS, as its group wants it.

use crate::endpoint::{ClientAddr, Endpoint};
use crate::net::{Stream, handshake, proxy_header};
use crate::proxy::http::Trouble;
use crate::proxy_protocol::{self, Addresses, Version, unspecified_like};
use crate::telemetry::Failure;
use crate::tls::{self, HTTP2};
use crate::topology::{Group, Peer};

/// What will be said on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// HTTP, which TLS is told (ALPN).
    Http,
    /// HTTP/2, on which TLS must agree (ALPN).
    Http2,
    /// Whatever a client says, or its peer says first.
    Bytes {
        /// The client has said something, which comes first.
        begun: bool,
    },
}

/// A connection to `peer` of `group`, ready for its content: what must be said before that is said. `header` is its PROXY
/// header. The caller bounds the time.
///
/// # Errors
/// Which of the steps failed, and why.
pub async fn open(group: &Group, peer: &Peer, header: Option<&[u8]>, content: Content) -> Result<Stream, Trouble> {
    let waits = content == Content::Bytes { begun: false } && header.is_none() && group.config.tls.is_none();
    let stream = Stream::connect(&peer.addr, !waits).await.map_err(|error| Trouble::connect(&error))?;
    if header.is_none() && group.config.tls.is_none() {
        return Ok(stream);
    }
    // Boxed: it is large, and most connections have nothing of it.
    Box::pin(introduce(stream, group, peer, header, content)).await
}

/// What comes before the content: the PROXY header, and TLS.
async fn introduce(
    mut stream: Stream,
    group: &Group,
    peer: &Peer,
    header: Option<&[u8]>,
    content: Content,
) -> Result<Stream, Trouble> {
    if let Some(header) = header {
        proxy_header::send(&mut stream, header).await.map_err(|error| Trouble::connect(&error))?;
    }
    if let Some(connector) = &group.config.tls {
        let config = match content {
            Content::Http => connector.config(),
            Content::Http2 => connector.http2_config(),
            Content::Bytes { .. } => connector.config_without_alpn(),
        };
        let secured = async {
            let name = connector.name_for(&peer.tls_name()).map_err(|error| tls::describe(&error))?;
            handshake::connect(&mut stream, config, name).await.map_err(|error| error.to_string())
        };
        secured.await.map_err(|why| Trouble::new(Failure::Tls, format!("TLS: {why}")))?;
        if content == Content::Http2 && stream.alpn() != Some(HTTP2) {
            return Err(Trouble::new(Failure::Tls, "TLS: it does not agree on HTTP/2"));
        }
    }
    Ok(stream)
}

/// The PROXY header for the peers of `group`, if they want one: it tells of `client`, who connected to `local`.
pub fn header(group: &Group, client: ClientAddr, local: &Endpoint) -> Option<Vec<u8>> {
    group.config.proxy_protocol.map(|version| encode(version, client, local))
}

fn encode(version: Version, client: ClientAddr, local: &Endpoint) -> Vec<u8> {
    let addresses = match (client, local) {
        (ClientAddr::Ip(source), Endpoint::Ip(destination)) => Some(Addresses { source, destination: *destination }),
        (ClientAddr::Ip(source), Endpoint::Unix(_)) => {
            Some(Addresses { source, destination: unspecified_like(source) })
        }
        (ClientAddr::Unix, _) => None,
    };
    proxy_protocol::encode(version, addresses)
}
