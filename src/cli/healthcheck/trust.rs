//! Whose certificates are believed? By default those of the web's authorities, which are compiled in.

use std::path::Path;

use super::HealthcheckArgs;
use crate::tls::{self, ClientSettings, Connector, Trust, Versions};

/// What handshakes begin with. Without `--ca-file`, `SSL_CERT_FILE` is as good.
///
/// # Errors
/// A file that cannot be read, or has no certificate.
pub(super) fn connector(args: &HealthcheckArgs) -> Result<Connector, String> {
    let common = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let trust = match (args.insecure, args.ca_file.as_deref().or(common.as_deref().map(Path::new))) {
        (true, _) => Trust::Anybody,
        (false, Some(path)) => Trust::Authorities(authorities(path)?),
        (false, None) => Trust::WebRoots,
    };
    Connector::new(ClientSettings { trust, server_name: None, pair: None, versions: Versions::ALL })
}

fn authorities(path: &Path) -> Result<Vec<tls::CertificateDer<'static>>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    tls::certificates(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}
