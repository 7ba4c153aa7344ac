//! What is in a PEM file (RFC 7468)?

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is none of what is needed.
    #[error("there is no {0} in it")]
    Missing(&'static str),
    /// It is not PEM.
    #[error("it is not PEM: {0}")]
    Malformed(String),
    /// A key that a passphrase protects.
    #[error("the key is encrypted, and there is nobody to ask for its passphrase")]
    Encrypted,
}

/// All certificates of a file, at least one.
///
/// # Errors
/// None in it, or something in it is broken.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let list = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(malformed)?;
    match list.is_empty() {
        true => Err(PemError::Missing("certificate (-----BEGIN CERTIFICATE-----)")),
        false => Ok(list),
    }
}

/// The first private key of a file: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
pub(super) fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if memchr::memmem::find(bytes, b"ENCRYPTED PRIVATE KEY").is_some() => {
            Err(PemError::Encrypted)
        }
        Err(pem::Error::NoItemsFound) => Err(PemError::Missing("private key (-----BEGIN PRIVATE KEY-----)")),
        Err(error) => Err(malformed(error)),
    }
}

fn malformed(error: pem::Error) -> PemError {
    // Names the kind of fault alone: a line of a key is nobody's business.
    PemError::Malformed(match error {
        pem::Error::MissingSectionEnd { .. } => "an -----END line is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is broken".to_owned(),
        pem::Error::Base64Decode(_) => "what stands between the lines is no base64".to_owned(),
        _ => "it cannot be read".to_owned(),
    })
}
