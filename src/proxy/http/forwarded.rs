//! What is the application told about its client? (X-Forwarded-*, RFC 7239 `Forwarded`.)

use std::net::IpAddr;

use crate::http1::Known;
use crate::http1::encode::{Address, Digits, line};

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

/// What an application was told of a client, for the next request: on one connection it hardly ever differs.
#[derive(Debug)]
pub struct Told {
    host: u8,
    len: u16,
    text: [u8; ROOM],
}

/// For the Host and its lines, in bytes: what is longer is written each time.
const ROOM: usize = 317;

impl Told {
    /// Remembers the lines that were written for this Host, if there is room for both, in the place of those before.
    pub fn remember(before: &mut Option<Box<Told>>, host: &[u8], lines: &[u8]) {
        let told = before.get_or_insert_with(|| Box::new(Told { host: 0, len: 0, text: [0; ROOM] }));
        if told.write(host, lines).is_none() {
            *before = None;
        }
    }

    fn write(&mut self, host: &[u8], lines: &[u8]) -> Option<()> {
        let len = host.len() + lines.len();
        let (known, rest) = self.text.get_mut(..len)?.split_at_mut(host.len());
        known.copy_from_slice(host);
        rest.copy_from_slice(lines);
        (self.host, self.len) = (host.len().try_into().ok()?, len.try_into().ok()?);
        Some(())
    }

    /// The lines, if this is the Host that they were written for.
    pub fn lines(&self, host: &[u8]) -> Option<&[u8]> {
        let (known, lines) = self.text.get(..usize::from(self.len))?.split_at_checked(usize::from(self.host))?;
        (known == host).then_some(lines)
    }
}

/// Appends the fields that tell an application about its client, except those that `omit` claims. `said` is empty
/// unless the sender is trusted.
pub fn write(out: &mut Vec<u8>, facts: &Facts<'_>, said: &Said<'_>, omit: impl Fn(Known) -> bool) {
    let sender = facts.sender.map(Address::of);
    let sender = sender.as_ref().map(Address::as_bytes);
    if !omit(Known::XForwardedFor) && (sender.is_some() || said.for_.is_some()) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        match (sender, said.for_) {
            (Some(sender), said) => {
                before(out, said);
                line(out, sender);
            }
            // Who reads the list expects addresses: one that has none is not in it.
            (None, said) => line(out, said.unwrap_or_default()),
        }
    }
    if let Some(client) = facts.client.filter(|_| !omit(Known::XRealIp)) {
        out.extend_from_slice(b"X-Real-IP: ");
        match sender.filter(|_| facts.sender == Some(client)) {
            Some(sender) => line(out, sender),
            None => line(out, Address::of(client).as_bytes()),
        }
    }
    if !omit(Known::XForwardedProto) {
        out.extend_from_slice(b"X-Forwarded-Proto: ");
        line(out, said.proto.unwrap_or(facts.scheme.as_bytes()));
    }
    if !omit(Known::XForwardedHost) {
        out.extend_from_slice(b"X-Forwarded-Host: ");
        line(out, said.host.unwrap_or(facts.host));
    }
    if !omit(Known::XForwardedPort) && (said.port.is_some() || facts.port.is_some()) {
        out.extend_from_slice(b"X-Forwarded-Port: ");
        match said.port {
            Some(port) => line(out, port),
            None => line(out, Digits::decimal(facts.port.unwrap_or_default().into()).as_bytes()),
        }
    }
    if let Some(prefix) = said.prefix.or(facts.prefix.map(str::as_bytes)).filter(|_| !omit(Known::XForwardedPrefix)) {
        out.extend_from_slice(b"X-Forwarded-Prefix: ");
        line(out, prefix);
    }
    if !omit(Known::Forwarded) {
        out.extend_from_slice(b"Forwarded: ");
        before(out, said.forwarded);
        element(out, facts, sender);
    }
}

fn before(out: &mut Vec<u8>, said: Option<&[u8]>) {
    if let Some(said) = said {
        out.extend_from_slice(said);
        out.extend_from_slice(b", ");
    }
}

/// One element of `Forwarded` (RFC 7239 §4), and the end of the line.
fn element(out: &mut Vec<u8>, facts: &Facts<'_>, sender: Option<&[u8]>) {
    out.extend_from_slice(b"for=");
    match (facts.sender, sender) {
        (Some(IpAddr::V6(_)), Some(sender)) => {
            out.extend_from_slice(b"\"[");
            out.extend_from_slice(sender);
            out.extend_from_slice(b"]\"");
        }
        (_, Some(sender)) => out.extend_from_slice(sender),
        // RFC 7239 §6.2.
        (_, None) => out.extend_from_slice(b"unknown"),
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(facts.scheme.as_bytes());
    out.extend_from_slice(b";host=");
    // A host may hold ':' and brackets, which a token may not.
    let found = facts.host.iter().fold(0, |found, &byte| found | NO_TOKEN[usize::from(byte)]);
    if found == 0 && !facts.host.is_empty() {
        return line(out, facts.host);
    }
    out.push(b'"');
    if found & CLEARED == 0 {
        out.extend_from_slice(facts.host);
    } else {
        out.extend(facts.host.iter().filter(|&&byte| NO_TOKEN[usize::from(byte)] & CLEARED == 0));
    }
    out.extend_from_slice(b"\"\r\n");
}

/// A byte that would end a quoted string, or begin an escape in it.
const CLEARED: u8 = 2;

/// Not 0: a byte that cannot stand in a host without quotes.
static NO_TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => 0,
            b'"' | b'\\' => CLEARED,
            _ => 1,
        };
        byte += 1;
    }
    table
};

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
    fn what_was_told_holds_for_the_host_that_it_was_told_for() {
        let of = |host: &[u8], lines: &[u8]| {
            let mut told = None;
            Told::remember(&mut told, host, lines);
            told
        };
        let mut told = of(b"shop.example", b"X-Real-IP: 192.0.2.7\r\n").unwrap();
        assert_eq!(told.lines(b"shop.example"), Some(&b"X-Real-IP: 192.0.2.7\r\n"[..]));
        for other in ["", "hop.example", "shop.example:80", "SHOP.example"] {
            assert_eq!(told.lines(other.as_bytes()), None, "{other}");
        }
        assert_eq!(of(b"", b"a: b\r\n").unwrap().lines(b""), Some(&b"a: b\r\n"[..]));
        assert!(of(&[b'a'; 255], b"").is_some() && of(&[b'a'; 256], b"").is_none());
        assert!(of(b"a", &[b'b'; ROOM - 1]).is_some() && of(b"a", &[b'b'; ROOM]).is_none());
        // The next Host's lines take their place, and what is too long leaves nothing.
        let place = std::ptr::from_ref(&*told);
        let mut known = Some(told);
        Told::remember(&mut known, b"other", b"b: c\r\n");
        told = known.unwrap();
        assert_eq!((told.lines(b"other"), told.lines(b"shop.example")), (Some(&b"b: c\r\n"[..]), None));
        assert_eq!(std::ptr::from_ref(&*told), place);
        let mut known = Some(told);
        Told::remember(&mut known, &[b'a'; 256], b"");
        assert!(known.is_none());
    }

    #[test]
    fn a_host_is_quoted_where_it_is_no_token_and_never_ends_its_quotes() {
        for (host, expected) in [
            ("a-B_9.example", "a-B_9.example"),
            ("a:80", "\"a:80\""),
            ("[::1]", "\"[::1]\""),
            ("", "\"\""),
            ("a\"b\\c", "\"abc\""),
        ] {
            let facts =
                Facts { sender: None, client: None, host: host.as_bytes(), port: None, scheme: "http", prefix: None };
            let text = written(&facts, &Said::default());
            assert!(text.ends_with(&format!("Forwarded: for=unknown;proto=http;host={expected}\r\n")), "{text}");
        }
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
