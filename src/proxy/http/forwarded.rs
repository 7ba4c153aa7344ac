//! What is the application told about its client? (X-Forwarded-*, RFC 7239 `Forwarded`.)

use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

use crate::http1::{Known, encode};

/// What a request is told to have come through.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The sender of the connection: what this proxy adds to the list. `None`: a unix socket, which has no address.
    pub sender: Option<IpAddr>,
    /// The client as far as it is known: `X-Real-IP`.
    pub client: Option<IpAddr>,
    /// The client's Host field.
    pub host: &'a [u8],
    /// The port that was listened on; `None`: a unix socket.
    pub port: Option<u16>,
    /// `http`, or `https` for a client that speaks TLS.
    pub scheme: &'static str,
    /// The prefix that was replaced, if one was.
    pub prefix: Option<&'a str>,
}

/// What a trusted proxy before this one has said, which is kept and added to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// X-Forwarded-For, joined by the caller.
    pub for_: Option<&'a [u8]>,
    /// X-Forwarded-Proto.
    pub proto: Option<&'a [u8]>,
    /// X-Forwarded-Host.
    pub host: Option<&'a [u8]>,
    /// X-Forwarded-Port.
    pub port: Option<&'a [u8]>,
    /// X-Forwarded-Prefix.
    pub prefix: Option<&'a [u8]>,
    /// Forwarded.
    pub forwarded: Option<&'a [u8]>,
}

/// Appends the fields that tell an application about its client, except those that `omit` claims. `said` is empty
/// unless the sender is trusted.
pub fn write(out: &mut Vec<u8>, facts: &Facts<'_>, said: &Said<'_>, omit: impl Fn(Known) -> bool) {
    // The sender's address stands in up to three fields; it is turned into text once.
    let mut sender = None;
    let mut address = |out: &mut Vec<u8>, address: IpAddr| match &sender {
        Some(text) if Some(address) == facts.sender => out.extend_from_within(Range::clone(text)),
        _ => {
            let at = out.len();
            address_text(out, address);
            if Some(address) == facts.sender {
                sender = Some(at..out.len());
            }
        }
    };
    if !omit(Known::XForwardedFor) {
        match (facts.sender, said.for_) {
            (Some(sender), said) => {
                name(out, Known::XForwardedFor);
                before(out, said);
                address(out, sender);
                out.extend_from_slice(b"\r\n");
            }
            // Who reads the list expects addresses: one that has none is not in it.
            (None, Some(said)) => encode::field(out, b"X-Forwarded-For", said),
            (None, None) => {}
        }
    }
    if let Some(client) = facts.client.filter(|_| !omit(Known::XRealIp)) {
        name(out, Known::XRealIp);
        address(out, client);
        out.extend_from_slice(b"\r\n");
    }
    if !omit(Known::XForwardedProto) {
        encode::field(out, b"X-Forwarded-Proto", said.proto.unwrap_or(facts.scheme.as_bytes()));
    }
    if !omit(Known::XForwardedHost) {
        encode::field(out, b"X-Forwarded-Host", said.host.unwrap_or(facts.host));
    }
    if !omit(Known::XForwardedPort) && (said.port.is_some() || facts.port.is_some()) {
        name(out, Known::XForwardedPort);
        match said.port {
            Some(port) => out.extend_from_slice(port),
            None => encode::decimal(out, facts.port.unwrap_or_default().into()),
        }
        out.extend_from_slice(b"\r\n");
    }
    if let Some(prefix) = said.prefix.or(facts.prefix.map(str::as_bytes)).filter(|_| !omit(Known::XForwardedPrefix)) {
        encode::field(out, b"X-Forwarded-Prefix", prefix);
    }
    if !omit(Known::Forwarded) {
        name(out, Known::Forwarded);
        before(out, said.forwarded);
        element(out, facts, address);
        out.extend_from_slice(b"\r\n");
    }
}

/// One element of `Forwarded` (RFC 7239 §4).
fn element(out: &mut Vec<u8>, facts: &Facts<'_>, mut address: impl FnMut(&mut Vec<u8>, IpAddr)) {
    out.extend_from_slice(b"for=");
    match facts.sender {
        Some(sender @ IpAddr::V6(_)) => {
            out.extend_from_slice(b"\"[");
            address(out, sender);
            out.extend_from_slice(b"]\"");
        }
        Some(sender) => address(out, sender),
        // RFC 7239 §6.2.
        None => out.extend_from_slice(b"unknown"),
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(facts.scheme.as_bytes());
    out.extend_from_slice(b";host=");
    // A host may hold ':' and brackets, which a token may not.
    let token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !facts.host.is_empty() && facts.host.iter().all(token) {
        out.extend_from_slice(facts.host);
    } else {
        out.push(b'"');
        out.extend(facts.host.iter().filter(|b| !matches!(b, b'"' | b'\\')));
        out.push(b'"');
    }
}

fn name(out: &mut Vec<u8>, field: Known) {
    out.extend_from_slice(field.name().as_bytes());
    out.extend_from_slice(b": ");
}

fn before(out: &mut Vec<u8>, said: Option<&[u8]>) {
    if let Some(said) = said {
        out.extend_from_slice(said);
        out.extend_from_slice(b", ");
    }
}

/// An address as text. The common case without the formatting machinery.
pub fn address_text(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => encode::ipv4(out, v4.octets()),
        // Writing to a vector cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(facts: &Facts<'_>, said: &Said<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, facts, said, |_| false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_application_is_told_who_asked_and_how() {
        let client = Some("198.51.100.9".parse().unwrap());
        let facts = Facts {
            sender: client,
            client,
            host: b"shop.example:8080",
            port: Some(8080),
            scheme: "http",
            prefix: Some("/app/"),
        };
        assert_eq!(
            written(&facts, &Said::default()),
            "X-Forwarded-For: 198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example:8080\r\nX-Forwarded-Port: 8080\r\nX-Forwarded-Prefix: /app/\r\n\
             Forwarded: for=198.51.100.9;proto=http;host=\"shop.example:8080\"\r\n"
        );
    }

    #[test]
    fn an_application_is_told_that_its_client_speaks_tls() {
        let client = Some("198.51.100.9".parse().unwrap());
        let facts = Facts { sender: client, client, host: b"a", port: Some(443), scheme: "https", prefix: None };
        let text = written(&facts, &Said::default());
        assert!(text.contains("\r\nX-Forwarded-Proto: https\r\n"), "{text}");
        assert!(text.contains("Forwarded: for=198.51.100.9;proto=https;host=a\r\n"), "{text}");
    }

    #[test]
    fn what_a_trusted_proxy_said_is_kept_and_added_to() {
        let facts = Facts {
            scheme: "http",
            sender: Some("10.0.0.1".parse().unwrap()),
            client: Some("203.0.113.5".parse().unwrap()),
            host: b"shop.example",
            port: Some(80),
            prefix: None,
        };
        let said = Said { for_: Some(b"203.0.113.5"), proto: Some(b"https"), port: Some(b"443"), ..Said::default() };
        assert_eq!(
            written(&facts, &said),
            "X-Forwarded-For: 203.0.113.5, 10.0.0.1\r\nX-Real-IP: 203.0.113.5\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 443\r\nForwarded: for=10.0.0.1;proto=http;host=shop.example\r\n"
        );
    }

    #[test]
    fn a_client_of_a_unix_socket_has_no_address_to_tell() {
        let facts =
            Facts { sender: None, client: None, host: b"shop.example", port: None, scheme: "http", prefix: None };
        assert_eq!(
            written(&facts, &Said::default()),
            "X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\n\
             Forwarded: for=unknown;proto=http;host=shop.example\r\n"
        );
        let client = Some("203.0.113.5".parse().unwrap());
        let said = Said { for_: Some(b"203.0.113.5"), port: Some(b"443"), ..Said::default() };
        assert_eq!(
            written(&Facts { client, ..facts }, &said),
            "X-Forwarded-For: 203.0.113.5\r\nX-Real-IP: 203.0.113.5\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 443\r\n\
             Forwarded: for=unknown;proto=http;host=shop.example\r\n"
        );
    }
}
