//! Whom does weir prove to be, and whom does it believe? Key pairs, trust, and what a handshake is made from.
//!
//! Certificates come in as bytes and go out as configurations of rustls; sockets are the business of `net`. `Acceptor`
//! is for connections of clients, `Connector` for those to peers. The cryptography is that of aws-lc, named explicitly:
//! nothing depends on a default of the process.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

mod acceptor;
mod connector;
mod facts;
mod pair;
mod pem;
mod possession;
mod reason;
pub mod x509;

pub use acceptor::{Acceptor, ClientPolicy, ServerSettings, VerifyClient, Versions};
pub use connector::{ClientSettings, Connector, HTTP2, Trust};
pub use facts::{ClientVerdict, Facts};
pub use pair::{KeyPair, PairError};
pub use pem::{PemError, certificates};
pub use reason::describe;
pub use rustls::Error;
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())).clone()
}
