//! What is known of a connection after its handshake?

use rustls::pki_types::CertificateDer;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use super::x509;

/// What nginx calls `$ssl_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.3`: `$ssl_protocol`.
    pub protocol: &'static str,
    /// `TLS_AES_256_GCM_SHA384`: `$ssl_cipher`, by its name at IANA.
    pub cipher: &'static str,
    /// The name that the client asked for (SNI), lower case: `$ssl_server_name`.
    pub server_name: Option<String>,
    /// Whether an earlier session went on: `$ssl_session_reused`.
    pub resumed: bool,
    /// What became of the client's certificate.
    pub client: ClientVerdict,
    /// Of whom the client's certificate speaks.
    pub certificate: Option<x509::Summary>,
}

/// What became of the client's certificate: `$ssl_client_verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientVerdict {
    /// `NONE`: it sent none, or was not asked for one.
    #[default]
    None,
    /// `SUCCESS`.
    Success,
    /// `FAILED:reason`.
    Failed(String),
}

impl ClientVerdict {
    /// As nginx writes it.
    pub fn text(&self) -> String {
        match self {
            ClientVerdict::None => "NONE".to_owned(),
            ClientVerdict::Success => "SUCCESS".to_owned(),
            ClientVerdict::Failed(why) => format!("FAILED:{why}"),
        }
    }
}

impl Facts {
    /// The facts of a connection whose handshake is over.
    pub fn of(connection: &CommonState, server_name: Option<&str>, client: ClientVerdict) -> Facts {
        let certificate = connection.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        Facts {
            protocol: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default(),
            server_name: server_name.map(str::to_ascii_lowercase),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client,
            certificate: certificate.and_then(|der| x509::summary(der)),
        }
    }
}
