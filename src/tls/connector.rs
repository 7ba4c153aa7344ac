//! How does weir begin a handshake with a peer? Verified by default, with the peer's own name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, Error, RootCertStore};

use super::acceptor::Versions;
use super::pair::KeyPair;
use super::possession::Possession;
use super::provider;

/// The name of HTTP/2 in ALPN (RFC 9113 §3.2).
pub const HTTP2: &[u8] = b"h2";

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that the roots of Mozilla's programme have issued: compiled in.
    WebRoots,
    /// Those that these have issued.
    Authorities(Vec<CertificateDer<'static>>),
    /// Anybody's: the connection is private, but with whom nobody knows.
    Anybody,
}

/// What a connector is made from. Equal settings make connectors that need not be told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The name that is asked for and verified (nginx: `proxy_ssl_name`); `None`: that of the peer itself.
    pub server_name: Option<String>,
    /// What weir proves itself with (nginx: `proxy_ssl_certificate`).
    pub pair: Option<KeyPair>,
    /// The versions that are spoken.
    pub versions: Versions,
}

/// Begins handshakes with the peers of one upstream. Remembers their sessions.
#[derive(Debug)]
pub struct Connector {
    id: u64,
    settings: ClientSettings,
    config: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    without_alpn: Arc<ClientConfig>,
}

impl PartialEq for Connector {
    fn eq(&self, other: &Connector) -> bool {
        self.settings == other.settings
    }
}

impl Connector {
    /// A connector of these settings.
    ///
    /// # Errors
    /// No version, no authority, or one that is malformed. The text says which.
    pub fn new(settings: ClientSettings) -> Result<Connector, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&settings.versions.list())
            .map_err(|_| "no version of TLS is left".to_owned())?;
        let verifier: Arc<dyn ServerCertVerifier> = match &settings.trust {
            Trust::WebRoots => webpki(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })?,
            Trust::Authorities(list) => {
                let mut roots = RootCertStore::empty();
                // As OpenSSL does: a bundle of a hundred may have one that nobody understands.
                let (added, _) = roots.add_parsable_certificates(list.iter().cloned());
                if added == 0 {
                    return Err("none of its certificates can be used".to_owned());
                }
                webpki(roots)?
            }
            Trust::Anybody => Arc::new(Possession::of_servers()),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &settings.pair {
            Some(pair) => builder
                .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair.certified().clone()))),
            None => builder.with_no_client_auth(),
        };
        let mut http2 = config.clone();
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        http2.alpn_protocols = vec![HTTP2.to_vec()];
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Relaxed);
        Ok(Connector { id, settings, config: Arc::new(config), http2: Arc::new(http2), without_alpn })
    }

    /// Told apart from every other connector of this process: what was opened with one is not used with another.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// For rustls.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The same, for peers with whom HTTP/2 is to be spoken inside.
    pub fn http2_config(&self) -> &Arc<ClientConfig> {
        &self.http2
    }

    /// The same for what is not HTTP, of which TLS is told nothing. Shares the sessions.
    pub fn config_without_alpn(&self) -> &Arc<ClientConfig> {
        &self.without_alpn
    }

    /// Whether the peers' certificates are verified.
    pub fn verifies(&self) -> bool {
        self.settings.trust != Trust::Anybody
    }

    /// The name that is asked for and verified: the one of the settings, else `host`, which may be an address.
    ///
    /// # Errors
    /// It can be no name of a certificate.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        ServerName::try_from(name.to_owned()).map_err(|_| Error::General(format!("{name:?} is no name for TLS")))
    }
}

fn webpki(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| error.to_string())
}
