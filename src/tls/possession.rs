//! Does the other end hold the key of the certificate that it shows (RFC 8446 §4.4.3)? Signatures are always verified, which
//! keeps the connection private; whose the certificate is, is judged elsewhere or not at all.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::provider;

/// Takes any certificate from whoever has its key.
#[derive(Debug)]
pub(super) struct Possession {
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
}

impl Possession {
    /// That of a server.
    pub(super) fn of_servers() -> Possession {
        Possession::of_clients(&[])
    }

    /// That of a client, if it has a certificate. It is told that one of these authorities should have issued it.
    pub(super) fn of_clients(authorities: &[DistinguishedName]) -> Possession {
        Possession { algorithms: provider().signature_verification_algorithms, hints: authorities.to_vec() }
    }
}

/// What rustls asks of both of its verifiers alike.
macro_rules! verified_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Possession {
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

    verified_signatures!();
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    verified_signatures!();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        CertificateError, ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
    };

    use super::*;

    /// Shows the first of two certificates, with its key or with the other's.
    fn showing(owns: bool) -> Arc<SingleCertAndKey> {
        let made = [(); 2].map(|()| rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap());
        let key = made[usize::from(!owns)].signing_key.serialize_der();
        let key = provider().key_provider.load_private_key(key.try_into().unwrap()).unwrap();
        Arc::new(CertifiedKey::new(vec![made[0].cert.der().clone()], key).into())
    }

    /// How a handshake ends in which each side shows a certificate.
    fn handshake(
        version: &'static SupportedProtocolVersion,
        client: Arc<SingleCertAndKey>,
        server: Arc<SingleCertAndKey>,
    ) -> Result<(), Error> {
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version])?;
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Possession::of_servers()));
        let config = Arc::new(config.with_client_cert_resolver(client));
        let mut client = ClientConnection::new(config, ServerName::try_from("b.test").unwrap())?;
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version])?;
        let config = config.with_client_cert_verifier(Arc::new(Possession::of_clients(&[])));
        let mut server = ServerConnection::new(Arc::new(config.with_cert_resolver(server)))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            client.write_tls(&mut sent).unwrap();
            server.read_tls(&mut sent.as_slice()).unwrap();
            server.process_new_packets()?;
            sent.clear();
            server.write_tls(&mut sent).unwrap();
            client.read_tls(&mut sent.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn any_certificate_is_taken_from_whoever_has_its_key() {
        let refused = Err(Error::InvalidCertificate(CertificateError::BadSignature));
        for version in [&TLS12, &TLS13] {
            for (client, server, expected) in
                [(true, true, Ok(())), (false, true, refused.clone()), (true, false, refused.clone())]
            {
                let ended = handshake(version, showing(client), showing(server));
                assert_eq!(ended, expected, "{version:?}: the client has its key: {client}, the server: {server}");
            }
        }
    }
}
