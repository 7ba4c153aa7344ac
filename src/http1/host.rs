//! Is this a host, and where does its port begin?

use std::net::Ipv6Addr;

use super::framing::parse_decimal;
use super::word::{find, not_in_most_hosts};

/// Splits `host:port` into the host (brackets of an IPv6 literal kept) and the port's digits, if there are any.
/// Expects what a head was accepted with; of anything else it makes the best.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    // From the end, where it is short.
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, port) = authority.split_at(authority.len() - digits);
    match before {
        [host @ .., b':'] => (host, (!port.is_empty()).then_some(port)),
        _ => (authority, None),
    }
}

/// Whether this is `host` or `host:port` as RFC 3986 §3.2 writes it: no user information, no empty host (`http` has
/// none, RFC 9110 §4.2.1), no zone of an IPv6 address. The port may be empty, and is at most 65535.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let plain = find(authority, not_in_most_hosts);
    let name = plain + authority[plain..].iter().take_while(|&&byte| IN_NAMES[usize::from(byte)]).count();
    match &authority[name..] {
        [] => name > 0,
        // A host that has a colon is in brackets.
        [b':', port @ ..] => name > 0 && (port.is_empty() || is_port(port)),
        _ => {
            let (host, port) = split_port(authority);
            port.is_none_or(is_port) && (is_name(host) || is_ipv6(host))
        }
    }
}

fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5 && parse_decimal(digits).is_some_and(|n| n <= 65535)
}

fn is_name(host: &[u8]) -> bool {
    let plain = |host: &[u8]| host.iter().all(|&byte| IN_NAMES[usize::from(byte)]);
    if plain(host) {
        return !host.is_empty();
    }
    let mut parts = host.split(|&byte| byte == b'%');
    // What is behind a percent sign begins with two digits.
    parts.next().is_some_and(plain)
        && parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit) && plain(part))
}

/// Unreserved characters and sub-delims; IPv4 addresses look like names.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        byte += 1;
    }
    table
};

fn is_ipv6(host: &[u8]) -> bool {
    let inside = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inside.and_then(|text| std::str::from_utf8(text).ok()).is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_what_follows_the_last_colon_outside_of_brackets() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("a", "a", None),
            ("a:80", "a", Some("80")),
            ("a:", "a", None),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
            ("", "", None),
        ];
        for (authority, host, port) in cases {
            let expected = (host.as_bytes(), port.map(str::as_bytes));
            assert_eq!(split_port(authority.as_bytes()), expected, "{authority}");
        }
    }

    #[test]
    fn every_byte_of_a_host_is_judged_wherever_it_stands() {
        for len in [1, 7, 8, 9, 15, 16, 17, 20] {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut host = vec![b'x'; len];
                    host[at] = byte;
                    // A colon is good before a port, which here are no digits; at the end there is none.
                    let good = IN_NAMES[usize::from(byte)] || byte == b':' && at > 0 && at == len - 1;
                    assert_eq!(is_authority(&host), good, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn hosts() {
        for good in [
            "a",
            "example.com",
            "EXAMPLE.com.:8080",
            "pyfla_app1:5000",
            "127.0.0.1:80",
            "[::1]",
            "[::ffff:1.2.3.4]:65535",
            "xn--bcher-kva.de",
            "a%20b",
            "a:",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:000080",
            "a:80:80",
            "user@a",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "[::1",
            "::1",
            "[::1]a",
            "[::g]",
            "[fe80::1%25eth0]",
            "[]",
            "[v1.a]",
            "a%2",
            "a%zz",
            "a\0",
            "a\u{e9}",
            "a,b c",
            "\"a\"",
            "<a>",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad:?}");
        }
    }
}
