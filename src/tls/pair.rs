//! A certificate with its chain, and the key that belongs to it.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::pem::{self, PemError};
use super::x509::{self, Summary};
use super::{provider, reason};

/// A key pair that fits together. Equal pairs have the same bytes.
#[derive(Clone)]
pub struct KeyPair {
    certified: Arc<CertifiedKey>,
    key: Arc<PrivateKeyDer<'static>>,
    summary: Summary,
}

/// Why two files are no key pair.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The file with the certificate.
    #[error("{0}")]
    Certificate(PemError),
    /// Its certificate is none.
    #[error("its first certificate is malformed, or of a version before 3")]
    MalformedCertificate,
    /// The file with the key.
    #[error("{0}")]
    Key(PemError),
    /// A key of a kind that is not known.
    #[error("the key cannot be used: {0}")]
    UnusableKey(String),
    /// They are not of each other.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

impl PairError {
    /// Whether the key's file is to blame, and not the certificate's.
    pub fn is_of_key(&self) -> bool {
        matches!(self, PairError::Key(_) | PairError::UnusableKey(_) | PairError::Mismatch)
    }
}

impl KeyPair {
    /// Reads a chain, the server's own certificate first, and its key, both PEM.
    ///
    /// # Errors
    /// Whatever is wrong with either, or that they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<KeyPair, PairError> {
        let chain = pem::certificates(certificates).map_err(PairError::Certificate)?;
        let key = pem::private_key(key).map_err(PairError::Key)?;
        KeyPair::from_der(chain, key)
    }

    /// As [`KeyPair::from_pem`], of what was read already.
    ///
    /// # Errors
    /// They do not belong together, or one of them is malformed.
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<KeyPair, PairError> {
        let first = chain.first().ok_or(PairError::MalformedCertificate)?;
        let summary = x509::summary(first).ok_or(PairError::MalformedCertificate)?;
        ParsedCertificate::try_from(first).map_err(|_| PairError::MalformedCertificate)?;
        let signing = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|error| PairError::UnusableKey(reason::describe(&error)))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            // Unknown: a kind of key that does not tell; the first handshake will.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(PairError::Mismatch),
            Err(_) => return Err(PairError::MalformedCertificate),
        }
        Ok(KeyPair { certified: Arc::new(certified), key: Arc::new(key), summary })
    }

    /// What its certificate says of itself.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// As rustls knows it.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// Whether its certificate is one for this name.
    pub(super) fn is_for(&self, name: &ServerName<'_>) -> bool {
        let parsed = self.certified.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
        parsed.is_some_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
    }
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &KeyPair) -> bool {
        self.certified.cert == other.certified.cert && self.key.secret_der() == other.key.secret_der()
    }
}

/// Without the key.
impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("subject", &self.summary.subject).finish_non_exhaustive()
    }
}
