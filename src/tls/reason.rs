//! Why did a handshake fail, in the words of an operator?

use rustls::{AlertDescription, CertificateError, Error};

/// A few words without the other side's name.
pub fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => format!("the other side refused: {}", alert_words(*alert)),
        Error::NoCertificatesPresented => "it sent no certificate".to_owned(),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "it does not speak TLS".to_owned(),
        Error::NoApplicationProtocol => "no common application protocol (ALPN)".to_owned(),
        Error::PeerIncompatible(why) => format!("no common version or cipher: {why:?}"),
        Error::PeerMisbehaved(why) => format!("it breaks the protocol: {why:?}"),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    use CertificateError::*;
    let words = match error {
        Expired | ExpiredContext { .. } => "its certificate has expired",
        NotValidYet | NotValidYetContext { .. } => "its certificate is not valid yet",
        Revoked => "its certificate was revoked",
        UnknownIssuer => "its certificate is of an unknown issuer",
        BadSignature => "its certificate has a wrong signature",
        BadEncoding => "its certificate is malformed",
        InvalidPurpose | InvalidPurposeContext { .. } => "its certificate is for another purpose",
        NotValidForName => "its certificate is for another name",
        NotValidForNameContext { expected, presented } => {
            let mut names = presented.iter().take(5).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
            if names.is_empty() {
                names.push_str("no name at all");
            }
            return format!("its certificate is not for {}, but for {names}", expected.to_str());
        }
        other => return format!("its certificate cannot be accepted: {other:?}"),
    };
    words.to_owned()
}

/// webpki shows names as `DnsName("a.test")`.
fn shown(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').to_owned()
}

fn alert_words(alert: AlertDescription) -> String {
    use AlertDescription::*;
    let words = match alert {
        HandshakeFailure => "no common version or cipher (handshake failure)",
        ProtocolVersion => "it does not speak this version of TLS",
        UnknownCA => "it does not trust the issuer of the certificate (unknown CA)",
        BadCertificate => "it does not accept the certificate",
        CertificateExpired => "the certificate has expired",
        CertificateUnknown => "it does not accept the certificate",
        CertificateRequired => "it requires a certificate",
        UnrecognisedName => "it does not know the name that was asked for",
        NoApplicationProtocol => "no common application protocol (ALPN)",
        other => return format!("alert {other:?}"),
    };
    words.to_owned()
}
