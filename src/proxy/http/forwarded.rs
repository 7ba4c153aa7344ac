//! Who is the client, and what is the application told about it? (X-Forwarded-*, RFC 7239 `Forwarded`.)

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;

use crate::http1::{Known, encode};

/// Whether `address` may speak for others.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The client's address: the sender's own, or, if the sender is trusted, the rightmost address of `X-Forwarded-For` that
/// is not trusted itself (all trusted: the leftmost). An entry that is no address ends the search: what stands left
/// of it is anybody's invention. `fields` are the values of the field, in order.
pub fn client_address<'a>(
    sender: IpAddr,
    fields: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = sender.to_canonical();
    if trusted.is_empty() || !is_trusted(sender, trusted) {
        return client;
    }
    for entry in fields.rev().flat_map(|value| value.rsplit(|b| *b == b',')) {
        let Some(address) = address(entry) else { return client };
        client = address;
        if !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

/// An entry of X-Forwarded-For: an address, perhaps with a port, perhaps in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    address.map(|address| address.to_canonical())
}

/// What a request is told to have come through.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The sender of the connection: what this proxy adds to the list.
    pub sender: IpAddr,
    /// The client as far as it is known: `X-Real-IP`.
    pub client: IpAddr,
    /// The client's Host field.
    pub host: &'a [u8],
    /// The port that was listened on.
    pub port: u16,
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
        Some(text) if address == facts.sender => out.extend_from_within(Range::clone(text)),
        _ => {
            let at = out.len();
            address_text(out, address);
            if address == facts.sender {
                sender = Some(at..out.len());
            }
        }
    };
    if !omit(Known::XForwardedFor) {
        name(out, Known::XForwardedFor);
        before(out, said.for_);
        address(out, facts.sender);
        out.extend_from_slice(b"\r\n");
    }
    if !omit(Known::XRealIp) {
        name(out, Known::XRealIp);
        address(out, facts.client);
        out.extend_from_slice(b"\r\n");
    }
    if !omit(Known::XForwardedProto) {
        encode::field(out, b"X-Forwarded-Proto", said.proto.unwrap_or(b"http"));
    }
    if !omit(Known::XForwardedHost) {
        encode::field(out, b"X-Forwarded-Host", said.host.unwrap_or(facts.host));
    }
    if !omit(Known::XForwardedPort) {
        name(out, Known::XForwardedPort);
        match said.port {
            Some(port) => out.extend_from_slice(port),
            None => encode::decimal(out, facts.port.into()),
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
    if facts.sender.is_ipv6() {
        out.extend_from_slice(b"\"[");
        address(out, facts.sender);
        out.extend_from_slice(b"]\"");
    } else {
        address(out, facts.sender);
    }
    out.extend_from_slice(b";proto=http;host=");
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
        IpAddr::V4(v4) => {
            for (i, octet) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                encode::decimal(out, octet.into());
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(sender: &str, fields: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        client_address(sender.parse().unwrap(), fields.iter().map(|f| f.as_bytes()), &trusted).to_string()
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
        let nets = &["10.0.0.0/8", "192.0.2.7/32"];
        for (sender, fields, expected) in [
            ("198.51.100.9", &["1.1.1.1"][..], "198.51.100.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.5, 192.0.2.7"], "203.0.113.5"),
            ("10.0.0.1", &["6.6.6.6", "203.0.113.5,10.9.9.9"], "203.0.113.5"),
            ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, nonsense, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["203.0.113.5:4711"], "203.0.113.5"),
            ("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ] {
            assert_eq!(client(sender, fields, nets), expected, "{sender} {fields:?}");
        }
        assert_eq!(client("10.0.0.1", &["203.0.113.5"], &[]), "10.0.0.1");
    }

    fn written(facts: &Facts<'_>, said: &Said<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, facts, said, |_| false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_application_is_told_who_asked_and_how() {
        let client = "198.51.100.9".parse().unwrap();
        let facts = Facts { sender: client, client, host: b"shop.example:8080", port: 8080, prefix: Some("/app/") };
        assert_eq!(
            written(&facts, &Said::default()),
            "X-Forwarded-For: 198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example:8080\r\nX-Forwarded-Port: 8080\r\nX-Forwarded-Prefix: /app/\r\n\
             Forwarded: for=198.51.100.9;proto=http;host=\"shop.example:8080\"\r\n"
        );
    }

    #[test]
    fn what_a_trusted_proxy_said_is_kept_and_added_to() {
        let facts = Facts {
            sender: "10.0.0.1".parse().unwrap(),
            client: "203.0.113.5".parse().unwrap(),
            host: b"shop.example",
            port: 80,
            prefix: None,
        };
        let said = Said { for_: Some(b"203.0.113.5"), proto: Some(b"https"), port: Some(b"443"), ..Said::default() };
        assert_eq!(
            written(&facts, &said),
            "X-Forwarded-For: 203.0.113.5, 10.0.0.1\r\nX-Real-IP: 203.0.113.5\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 443\r\nForwarded: for=10.0.0.1;proto=http;host=shop.example\r\n"
        );
    }
}
