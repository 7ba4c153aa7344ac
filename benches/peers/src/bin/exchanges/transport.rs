//! How do bytes get to the proxy? As they are, or within TLS 1.3, of which this client offers one kind only, so that every
//! proxy has the same to do: TLS_AES_128_GCM_SHA256 and X25519. Certificates are believed unseen: what is measured is the
//! proxy, and the less its client computes, the better.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, version};

/// What a connection is secured with; `None`: nothing.
#[derive(Clone)]
pub struct Security(Option<Arc<ClientConfig>>);

impl Security {
    /// `plain`, `tls` or `resume`. Each has sessions of its own.
    pub fn parse(text: &str, alpn: &[u8]) -> io::Result<Security> {
        let resumption = match text {
            "plain" => return Ok(Security(None)),
            "tls" => Resumption::disabled(),
            "resume" => Resumption::in_memory_sessions(1),
            _ => return Err(io::Error::other(format!("plain, tls or resume, not {text}"))),
        };
        let provider = CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(io::Error::other)?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Believer)).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = resumption;
        Ok(Security(Some(Arc::new(config))))
    }
}

/// A connection to the proxy that never waits.
pub struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    outgoing: Vec<u8>,
}

impl Transport {
    /// Connects. A handshake goes on as bytes are flushed and read.
    pub fn connect(port: u16, security: &Security) -> io::Result<Transport> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("bench").map_err(io::Error::other)?;
        let connection = security.0.as_ref().map(|config| ClientConnection::new(Arc::clone(config), name));
        let tls = connection.transpose().map_err(io::Error::other)?.map(Box::new);
        Ok(Transport { socket, tls, outgoing: Vec::new() })
    }

    /// For the poller.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What the next flush sends.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Sends. Requests are small: a socket that does not take them is an error.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(&self.outgoing)?,
            Some(tls) => {
                tls.writer().write_all(&self.outgoing)?;
                while tls.wants_write() {
                    tls.write_tls(&mut self.socket)?;
                }
            }
        }
        self.outgoing.clear();
        Ok(())
    }

    /// What has come; 0 is the end. `WouldBlock`: no more for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return end_or(self.socket.read(buffer)) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return end_or(read),
            }
            if end_or(tls.read_tls(&mut self.socket))? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            // A handshake may want to answer.
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
        }
    }

    /// Whether the handshake went on with an earlier session; `None` if there was none.
    pub fn resumed(&self) -> Option<bool> {
        let kind = self.tls.as_ref()?.handshake_kind()?;
        Some(kind == HandshakeKind::Resumed)
    }
}

/// Proxies end in several ways: with a word, without, or with a reset. Whether an answer is whole its length says.
fn end_or(read: io::Result<usize>) -> io::Result<usize> {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    read.or_else(|error| if matches!(error.kind(), ConnectionReset | UnexpectedEof) { Ok(0) } else { Err(error) })
}

/// Believes everybody.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
