//! A certificate made on the spot, which nobody has to believe.

use crate::tls::{CertificateDer, KeyPair, PairError, PrivateKeyDer};

/// The names it is for: those of this machine.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why none could be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The cryptography's word.
    #[error("no certificate could be made: {0}")]
    Made(#[from] rcgen::Error),
    /// It was made, and is of no use.
    #[error("no certificate could be made: {0}")]
    Pair(#[from] PairError),
}

/// Makes a key and a certificate of its own for this machine, in memory alone.
///
/// # Errors
/// If the system has no randomness to give.
pub fn make() -> Result<KeyPair, CertificateError> {
    let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|_| PairError::Mismatch)?;
    Ok(KeyPair::from_der(vec![CertificateDer::clone(made.cert.der())], key)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_certificate_is_made_each_time_anew() {
        let [one, other] = [super::make().unwrap(), super::make().unwrap()];
        assert!(one != other);
    }
}
