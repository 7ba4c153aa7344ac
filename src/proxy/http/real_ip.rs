//! Who is the client behind trusted proxies? (nginx: `ngx_http_realip_module`, recursive; RFC 7239 for `Forwarded`.)

use std::net::{IpAddr, SocketAddr};

use crate::config::TrustedProxies;
use crate::config::model::RealIpHeader;
use crate::endpoint::ClientAddr;
use crate::http1::Known;

/// The field that tells, if one does.
pub fn field(header: RealIpHeader) -> Option<Known> {
    match header {
        RealIpHeader::XForwardedFor => Some(Known::XForwardedFor),
        RealIpHeader::XRealIp => Some(Known::XRealIp),
        RealIpHeader::Forwarded => Some(Known::Forwarded),
        RealIpHeader::ProxyProtocol => None,
    }
}

/// The client's address: the sender's own, or, if the sender is trusted, the rightmost address in its field that is not
/// trusted itself (all trusted: the leftmost). An entry that is no address ends the search: what stands left of it is
/// anybody's invention. `lines` are the values of the field, in order.
pub fn client_address(
    sender: ClientAddr,
    header: RealIpHeader,
    lines: &[&[u8]],
    trusted: &TrustedProxies,
) -> ClientAddr {
    if !trusted.trusts(sender) {
        return sender;
    }
    let from_the_right = lines.iter().rev();
    match header {
        RealIpHeader::XForwardedFor => {
            let entries = from_the_right.flat_map(|line| line.rsplit(|b| *b == b','));
            rightmost(sender, entries.map(address), trusted)
        }
        RealIpHeader::Forwarded => {
            let elements = from_the_right.flat_map(|line| split_from_the_right(line, b','));
            rightmost(sender, elements.map(node), trusted)
        }
        // One address, which the proxy has put in place of whatever came.
        RealIpHeader::XRealIp => rightmost(sender, from_the_right.take(1).map(|line| address(line)), trusted),
        RealIpHeader::ProxyProtocol => sender,
    }
}

fn rightmost(
    sender: ClientAddr,
    entries: impl Iterator<Item = Option<IpAddr>>,
    trusted: &TrustedProxies,
) -> ClientAddr {
    let mut client = sender;
    for entry in entries {
        let Some(address) = entry else { return client };
        // Of an address that somebody told nobody knows the port.
        client = SocketAddr::new(address, 0).into();
        if !trusted.trusts_ip(address) {
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

/// The address behind `for` in an element of `Forwarded` (RFC 7239 §4, §6); `None`: it has none, or hides it.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut nodes = split_from_the_right(element, b';').into_iter().filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        pair[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| pair[at + 1..].trim_ascii())
    });
    let node = nodes.next()?;
    if nodes.next().is_some() {
        return None;
    }
    address(node.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(node))
}

/// The parts between separators that stand outside of quotes, the last one first. Read from the right, since that is the
/// side which a trusted proxy has written: a quote that a client never closes hides nothing of it.
fn split_from_the_right(value: &[u8], separator: u8) -> Vec<&[u8]> {
    let is_escaped = |at: usize| value[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
    let (mut parts, mut end, mut quoted) = (Vec::new(), value.len(), false);
    for at in (0..value.len()).rev() {
        if value[at] == b'"' && !is_escaped(at) {
            quoted = !quoted;
        } else if value[at] == separator && !quoted {
            parts.push(&value[at + 1..end]);
            end = at;
        }
    }
    parts.push(&value[..end]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: &[&str] = &["10.0.0.0/8", "192.0.2.7/32"];

    fn client(header: RealIpHeader, sender: &str, lines: &[&str], trusted: &[&str]) -> String {
        let trusted = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect(), true);
        let sender = match sender {
            "unix:" => ClientAddr::Unix,
            ip => SocketAddr::new(ip.parse().unwrap(), 0).into(),
        };
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let client = client_address(sender, header, &lines, &trusted);
        client.ip().map_or("unix:".to_owned(), |ip| ip.to_string())
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
        for (sender, lines, expected) in [
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
            ("unix:", &["6.6.6.6, 203.0.113.5, 192.0.2.7"], "203.0.113.5"),
            ("unix:", &[], "unix:"),
        ] {
            assert_eq!(client(RealIpHeader::XForwardedFor, sender, lines, TRUSTED), expected, "{sender} {lines:?}");
        }
        assert_eq!(client(RealIpHeader::XForwardedFor, "10.0.0.1", &["203.0.113.5"], &[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_from_the_right_as_well() {
        for (lines, expected) in [
            (&["for=203.0.113.5"][..], "203.0.113.5"),
            (&["For=203.0.113.5;proto=https;by=10.0.0.2"], "203.0.113.5"),
            (&["proto=https ; for = \"203.0.113.5:4711\""], "203.0.113.5"),
            (&["for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=6.6.6.6, for=203.0.113.5;host=\"a,b;c\", for=192.0.2.7"], "203.0.113.5"),
            (&["for=6.6.6.6", "for=203.0.113.5,for=10.9.9.9"], "203.0.113.5"),
            // Hidden, unknown, missing or doubtful: what stands left of it is not believed.
            (&["for=6.6.6.6, for=_hidden, for=10.2.2.2"], "10.2.2.2"),
            (&["for=6.6.6.6, for=unknown"], "10.0.0.1"),
            (&["for=6.6.6.6, proto=http"], "10.0.0.1"),
            (&["for=6.6.6.6;for=7.7.7.7"], "10.0.0.1"),
            // A quote that a client leaves open does not swallow what the proxy has added.
            (&["for=\"6.6.6.6, for=203.0.113.5"], "203.0.113.5"),
            (&["for=6.6.6.6;host=\"\\\", for=203.0.113.5"], "203.0.113.5"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(client(RealIpHeader::Forwarded, "10.0.0.1", lines, TRUSTED), expected, "{lines:?}");
        }
    }

    #[test]
    fn x_real_ip_is_one_address_and_the_proxy_protocol_needs_no_field() {
        for (header, lines, expected) in [
            (RealIpHeader::XRealIp, &["203.0.113.5"][..], "203.0.113.5"),
            (RealIpHeader::XRealIp, &["6.6.6.6", "203.0.113.5"], "203.0.113.5"),
            (RealIpHeader::XRealIp, &["6.6.6.6, 203.0.113.5"], "10.0.0.1"),
            (RealIpHeader::XRealIp, &["6.6.6.6", "10.0.0.9"], "10.0.0.9"),
            (RealIpHeader::ProxyProtocol, &["203.0.113.5"], "10.0.0.1"),
        ] {
            assert_eq!(client(header, "10.0.0.1", lines, TRUSTED), expected, "{header:?} {lines:?}");
        }
    }
}
