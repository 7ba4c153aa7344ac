//! How does weir take a client's handshake? A key pair chosen by name and by what the client can verify, the versions,
//! the sessions that may go on, and what is asked of the client itself.

use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::facts::ClientVerdict;
use super::pair::KeyPair;
use super::possession::Possession;
use super::{provider, reason};

/// The protocols offered to clients inside TLS (ALPN, RFC 7301), the preferred one first. The only list of them.
const ALPN: [&[u8]; 2] = [super::HTTP2, b"http/1.1"];

/// Sessions kept for clients that do not take tickets.
const SESSIONS: usize = 20_480;

/// Which versions are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2 (RFC 5246).
    pub tls12: bool,
    /// TLS 1.3 (RFC 8446).
    pub tls13: bool,
}

impl Versions {
    /// Both.
    pub const ALL: Versions = Versions { tls12: true, tls13: true };

    pub(super) fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [(self.tls13, &version::TLS13), (self.tls12, &version::TLS12)];
        both.into_iter().filter(|(wanted, _)| *wanted).map(|(_, version)| version).collect()
    }
}

/// Whether clients must have a certificate (nginx: `ssl_verify_client`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; without one they are served all the same.
    Optional,
    /// Without one that is fine they get 400.
    On,
}

/// What is asked of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPolicy {
    /// Whether they must have a certificate.
    pub verify: VerifyClient,
    /// Who may have issued it.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// What an acceptor is made from. Equal settings make acceptors that need not be told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// At least one. Of those for the name that a client asks for, the first that it can verify is used.
    pub pairs: Vec<KeyPair>,
    /// The versions that are spoken.
    pub versions: Versions,
    /// What is asked of clients.
    pub clients: ClientPolicy,
}

/// Takes handshakes for one server on one address.
#[derive(Debug)]
pub struct Acceptor {
    settings: ServerSettings,
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Acceptor) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Acceptor {}

impl Acceptor {
    /// An acceptor of these settings.
    ///
    /// # Errors
    /// No version, no authority though certificates are asked for, or one that is malformed. The text says which.
    pub fn new(settings: ServerSettings) -> Result<Acceptor, String> {
        let verifier = verifier(&settings.clients)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&settings.versions.list())
            .map_err(|_| "no version of TLS is left".to_owned())?;
        let builder = match &verifier {
            // The handshake ends whatever certificate the client has, as in nginx: that it is no good is told over HTTP,
            // where somebody can read it (see `judge`).
            Some(verifier) => {
                let possession = Possession::of_clients(verifier.root_hint_subjects());
                builder.with_client_cert_verifier(Arc::new(possession))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Pairs(settings.pairs.clone())));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        let Resumption { tickets, sessions } = resumption();
        if let Some(tickets) = tickets {
            config.ticketer = tickets;
        }
        config.session_storage = sessions;
        Ok(Acceptor { settings, config: Arc::new(config), verifier })
    }

    /// The same for what is not HTTP: nothing is agreed on inside TLS, whatever the client offers.
    #[must_use]
    pub fn without_alpn(&self) -> Acceptor {
        let mut config = (*self.config).clone();
        config.alpn_protocols.clear();
        Acceptor { settings: self.settings.clone(), config: Arc::new(config), verifier: self.verifier.clone() }
    }

    /// For rustls.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// What is asked of clients.
    pub fn clients(&self) -> &ClientPolicy {
        &self.settings.clients
    }

    /// Judges the certificate that a client sent, in this handshake or in that of the session which goes on.
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>, now: UnixTime) -> ClientVerdict {
        match (&self.verifier, chain) {
            (Some(verifier), Some([own, others @ ..])) => match verifier.verify_client_cert(own, others, now) {
                Ok(_) => ClientVerdict::Success,
                Err(error) => ClientVerdict::Failed(reason::describe(&error)),
            },
            _ => ClientVerdict::None,
        }
    }
}

fn verifier(clients: &ClientPolicy) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if clients.verify == VerifyClient::Off {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for authority in &clients.authorities {
        roots.add(authority.clone()).map_err(|error| reason::describe(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    builder.build().map(Some).map_err(|error| error.to_string())
}

/// Which key pair a client gets.
#[derive(Debug)]
struct Pairs(Vec<KeyPair>);

impl ResolvesServerCert for Pairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = |pair: &&KeyPair| self.0.len() > 1 && name.as_ref().is_some_and(|name| pair.is_for(name));
        let usable = |pair: &&KeyPair| pair.certified().key.choose_scheme(hello.signature_schemes()).is_some();
        // One for another name is better than none: what it is worth is for the client to judge.
        let of_name = self.0.iter().filter(named).find(usable);
        of_name.or_else(|| self.0.iter().find(usable)).map(|pair| Arc::clone(pair.certified()))
    }
}

/// What lets a client go on with an earlier session.
#[derive(Clone)]
struct Resumption {
    /// Sealed with keys that change every six hours. `None`: the system has no randomness to give.
    tickets: Option<Arc<dyn ProducesTickets>>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// One for the process: a client that comes back meets any worker, and perhaps another configuration. A session is no
/// proof of anything but its own past: what the client's certificate is worth is judged anew each time.
fn resumption() -> Resumption {
    static SHARED: OnceLock<Resumption> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let tickets = Ticketer::new().ok();
        let sessions: Arc<dyn StoresServerSessions> = match tickets {
            Some(_) => ServerSessionMemoryCache::new(SESSIONS),
            None => Arc::new(NoServerSessionStorage {}),
        };
        Resumption { tickets, sessions }
    });
    shared.clone()
}
