//! What becomes of a head on its way through? Hop-by-hop fields stay, framing is written anew, the rest passes.

use std::ops::Range;

use super::affinity::SetCookie;
use super::forwarded::{self, Said};
use super::variables::Scope;
use crate::config::template::Template;
use crate::http1::{Framing, Known, RequestHead, ResponseHead, Version, encode};

/// A request as it goes to a peer.
pub struct Outbound<'a> {
    /// As it came.
    pub head: &'a RequestHead,
    /// Path and query to send.
    pub target: &'a [u8],
    /// `Host` to send, unless `set` has one.
    pub host: &'a [u8],
    /// What the application is told of the client.
    pub forwarded: forwarded::Facts<'a>,
    /// The same in lines, if they were written before.
    pub told: Option<&'a [u8]>,
    /// Whether the sender's own X-Forwarded-* are kept.
    pub trusted: bool,
    /// How the body is framed.
    pub framing: Framing,
    /// `proxy_set_header`.
    pub set: &'a [(String, Template)],
    /// What templates are evaluated over.
    pub scope: &'a Scope<'a>,
    /// The connection is not kept.
    pub close: bool,
    /// The peer speaks HTTP/2, which frames by itself and knows no options of a connection.
    pub http2: bool,
}

/// The protocol that a request wants to go on with (`websocket`), if it may ask its peer: not in the midst of a body, and
/// not for HTTP/2, within which requests would pass unseen.
pub fn upgrade(head: &RequestHead) -> Option<&[u8]> {
    let is_h2c = |protocol: &[u8]| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c");
    let protocols = head.upgrade().filter(|_| matches!(head.framing(), Framing::None | Framing::Length(0)));
    protocols.filter(|protocols| !protocols.split(|byte| *byte == b',').any(is_h2c))
}

/// The protocol that a peer of HTTP/2 is asked for by an extended CONNECT (RFC 8441). A client of HTTP/2 wants nothing else. Of
/// what HTTP/1.1 can be upgraded to, only a WebSocket is nothing without it; a request for another protocol is answered well
/// enough without the switch (RFC 9110 §7.8).
pub fn extended_connect(head: &RequestHead) -> Option<&[u8]> {
    let protocols = upgrade(head)?;
    if head.version() == Version::Http2 {
        return Some(protocols);
    }
    protocols.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).find(|name| name.eq_ignore_ascii_case(WEBSOCKET))
}

/// Whether the request for an upgrade came as an extended CONNECT (RFC 8441), whose agreement is a 200.
pub fn is_extended_connect(head: &RequestHead) -> bool {
    head.version() == Version::Http2 && head.upgrade().is_some()
}

/// Writes the head of a request. The order is nginx's: request line, Host, what the proxy sets, framing, what the client
/// sent, in its order and case. Returns where the lines are that tell of the client.
pub fn write_request(out: &mut Vec<u8>, request: &Outbound<'_>) -> Range<usize> {
    let is_set = |name: &[u8]| request.set.iter().any(|(set, _)| set.as_bytes().eq_ignore_ascii_case(name));
    if request.head.version() == Version::Http11 && request.target == request.head.target() {
        encode::line(out, request.head.request_line());
    } else {
        encode::request_line(out, request.head.method(), request.target);
    }
    if request.set.is_empty() || !is_set(b"Host") {
        out.extend_from_slice(b"Host: ");
        encode::line(out, request.host);
    }
    let list = |known| request.trusted.then(|| joined(request.head, known));
    let (for_, elements) = (list(Known::XForwardedFor), list(Known::Forwarded));
    let said = if request.trusted { said(request.head, &for_, &elements) } else { Said::default() };
    let begin = out.len();
    match request.told {
        Some(lines) => out.extend_from_slice(lines),
        None => forwarded::write(out, &request.forwarded, &said, |known| {
            !request.set.is_empty() && is_set(known.name().as_bytes())
        }),
    }
    let told = begin..out.len();
    for (name, template) in request.set {
        templated(out, name, template, request.scope);
    }
    match request.framing {
        Framing::Chunked if request.http2 => {}
        framing => write_framing(out, framing),
    }
    if request.http2 {
        // The one field of a connection that HTTP/2 has kept, with this one value (RFC 9113 §8.2.2). gRPC insists on it.
        if takes_trailers(request.head) {
            encode::field(out, b"TE", b"trailers");
        }
        // `http2/heads.rs` makes an extended CONNECT of it.
        if let Some(protocol) = extended_connect(request.head) {
            write_upgrade(out, protocol);
        }
    } else if let Some(protocol) = upgrade(request.head) {
        write_upgrade(out, protocol);
    } else if request.close {
        encode::field(out, b"Connection", b"close");
    }
    request.head.copy_lines(out, |field| {
        let passes = !field.is_hop_by_hop() && !field.is_unusual() && !is_made_anew(field.known);
        passes && (request.set.is_empty() || !is_set(field.name))
    });
    encode::end_of_head(out);
    told
}

/// Whether the client says that it takes trailers.
fn takes_trailers(head: &RequestHead) -> bool {
    let tokens = |value: &[u8]| value.split(|&byte| byte == b',').any(|token| token.trim_ascii() == b"trailers");
    head.fields().any(|field| field.known == Known::Te && tokens(field.value))
}

fn is_made_anew(known: Known) -> bool {
    use Known::*;
    matches!(
        known,
        Host | ContentLength
            | Expect
            | XForwardedFor
            | XForwardedProto
            | XForwardedHost
            | XForwardedPort
            | XForwardedPrefix
            | XRealIp
            | Forwarded
    )
}

/// All values of a field as one list.
pub fn joined(head: &RequestHead, known: Known) -> Vec<u8> {
    let mut values = head.fields().filter(|field| field.known == known).map(|field| field.value);
    let mut joined = values.next().unwrap_or_default().to_vec();
    for value in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value);
    }
    joined
}

fn said<'a>(head: &'a RequestHead, for_: &'a Option<Vec<u8>>, elements: &'a Option<Vec<u8>>) -> Said<'a> {
    let not_empty = |list: &'a Option<Vec<u8>>| list.as_deref().filter(|list| !list.is_empty());
    Said {
        for_: not_empty(for_),
        proto: head.field(Known::XForwardedProto),
        host: head.field(Known::XForwardedHost),
        port: head.field(Known::XForwardedPort),
        prefix: head.field(Known::XForwardedPrefix),
        forwarded: not_empty(elements),
    }
}

fn write_upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    encode::field(out, b"Connection", b"upgrade");
    encode::field(out, b"Upgrade", protocol);
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(n) => encode::content_length(out, n),
        Framing::Chunked => encode::field(out, b"Transfer-Encoding", b"chunked"),
    }
}

/// How an answer's body is framed towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// No body follows.
    Empty,
    /// As many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes, or the stream of HTTP/2 ends.
    UntilClose,
}

/// How a body that comes with `framing` is delivered to a client of this version.
pub fn delivery(framing: Framing, client: Version) -> Delivery {
    match (framing, client) {
        (Framing::None, _) => Delivery::Empty,
        (Framing::Length(n), _) => Delivery::Length(n),
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Delivery::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10 | Version::Http2) => Delivery::UntilClose,
    }
}

/// An answer as it goes to the client.
pub struct Inbound<'a> {
    /// As it came.
    pub head: &'a ResponseHead,
    /// How its body is framed.
    pub delivery: Delivery,
    /// What the client speaks.
    pub client: Version,
    /// Whether the client's connection is kept.
    pub keep_alive: bool,
    /// `proxy_hide_header`, lower case.
    pub hide: &'a [String],
    /// `hsts`: the value of Strict-Transport-Security, in place of the backend's.
    pub hsts: Option<&'a str>,
    /// `add_header`.
    pub add: &'a [(String, Template)],
    /// What binds the client to the peer.
    pub cookie: Option<&'a SetCookie>,
    /// What templates are evaluated over.
    pub scope: &'a Scope<'a>,
}

/// The protocol's name among those to upgrade to.
pub const WEBSOCKET: &[u8] = b"websocket";

const HSTS: &[u8] = b"Strict-Transport-Security";

/// Writes the head of an answer for the client.
pub fn write_response(out: &mut Vec<u8>, answer: &Inbound<'_>) {
    let head = answer.head;
    let keeps_length = match answer.delivery {
        // Without a body (HEAD, 304) the length that the backend announces is information, not framing; with 204 it is
        // forbidden (RFC 9110 §8.6).
        Delivery::Empty => head.status() != 204,
        Delivery::Length(_) => head.has_plain_length(),
        Delivery::Chunked | Delivery::UntilClose => false,
    };
    head.copy_head(out, |field| {
        let framing = field.known == Known::ContentLength && !keeps_length;
        let hidden = answer.hide.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        let replaced = answer.hsts.is_some() && field.name.eq_ignore_ascii_case(HSTS);
        !field.is_hop_by_hop() && !framing && !hidden && !replaced
    });
    if let Some(hsts) = answer.hsts {
        encode::field(out, HSTS, hsts.as_bytes());
    }
    for (name, template) in answer.add {
        templated(out, name, template, answer.scope);
    }
    if let Some(cookie) = answer.cookie {
        encode::field(out, b"Set-Cookie", &cookie.value);
        if cookie.private {
            encode::field(out, b"Cache-Control", b"private");
        }
    }
    match answer.delivery {
        Delivery::Empty | Delivery::UntilClose => {}
        Delivery::Length(_) if keeps_length => {}
        Delivery::Length(n) => encode::content_length(out, n),
        Delivery::Chunked => encode::field(out, b"Transfer-Encoding", b"chunked"),
    }
    if let (101, Some(protocol)) = (head.status(), head.upgrade()) {
        write_upgrade(out, protocol);
    } else if !answer.keep_alive {
        encode::field(out, b"Connection", b"close");
    } else if answer.client == Version::Http10 {
        encode::field(out, b"Connection", b"keep-alive");
    }
    encode::end_of_head(out);
}

/// Writes a field whose value is a template; nothing if it is empty. Never is a value written that could be read as two.
pub fn templated(out: &mut Vec<u8>, name: &str, template: &Template, scope: &Scope<'_>) {
    let before = out.len();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let value = out.len();
    scope.append(template, out);
    if out.len() == value || !encode::is_value(&out[value..]) {
        out.truncate(before);
    } else {
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes an interim answer (1xx) for the client.
pub fn write_interim(out: &mut Vec<u8>, head: &ResponseHead) {
    encode::status_line(out, Version::Http11, head.status(), head.reason());
    head.copy_lines(out, |field| !field.is_hop_by_hop() && field.known != Known::ContentLength);
    encode::end_of_head(out);
}

#[cfg(test)]
mod tests {
    use super::super::connection::Client;
    use super::super::secure::Security;
    use super::super::variables::RequestId;
    use super::*;
    use crate::config::template::Use;
    use crate::http1::Limits;

    type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

    fn request(fields: Lines<'_>) -> RequestHead {
        let mut head = RequestHead::new();
        head.compose(b"GET", b"/", fields.iter().copied(), &Limits::default()).unwrap();
        head
    }

    /// The lines of an answer to HTTP/1.1, without its first.
    fn passed_on(status: u16, fields: Lines<'_>, delivery: Delivery, keep_alive: bool) -> String {
        let mut head = ResponseHead::new();
        head.compose(status, b"", fields.iter().copied(), &Limits::default()).unwrap();
        let address: std::net::SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let (local, listener) = (address.into(), address.into());
        let (proxied, security) = (None, Security::Plain);
        let (remote, hosts, h2c) = (address.into(), None, false);
        let client = Client { remote, local, listener, serial: 1, hosts, h2c, proxied, security };
        let asked = request(&[(b"Host", b"a")]);
        let scope = Scope {
            head: &asked,
            client: &client,
            address: address.into(),
            path: b"/",
            server_name: "",
            proxy_host: "",
            request_id: &RequestId::default(),
            answer: None,
        };
        let template = |text| Template::parse(text, Use::Request).unwrap();
        let mut out = Vec::new();
        write_response(
            &mut out,
            &Inbound {
                hsts: None,
                head: &head,
                delivery,
                client: Version::Http11,
                keep_alive,
                hide: &["x-hidden".to_owned()],
                add: &[("X-For".to_owned(), template("$remote_addr")), ("X-None".to_owned(), template("$arg_none"))],
                cookie: None,
                scope: &scope,
            },
        );
        let text = String::from_utf8(out).unwrap();
        text.split_once("\r\n").unwrap().1.trim_end().replace("\r\n", " | ")
    }

    #[test]
    fn an_answer_passes_with_its_framing_made_anew() {
        let length: Lines<'_> = &[(b"Content-Length", b"5")];
        let padded: Lines<'_> = &[(b"Content-Length", b"05")];
        let chunked: Lines<'_> = &[(b"Transfer-Encoding", b"chunked")];
        for (status, fields, delivery, keep, expected) in [
            (200, length, Delivery::Length(5), true, "Content-Length: 5 | X-For: 192.0.2.7"),
            (200, length, Delivery::Length(5), false, "Content-Length: 5 | X-For: 192.0.2.7 | Connection: close"),
            // In one way, whatever was said.
            (200, padded, Delivery::Length(5), true, "X-For: 192.0.2.7 | Content-Length: 5"),
            (200, chunked, Delivery::Chunked, true, "X-For: 192.0.2.7 | Transfer-Encoding: chunked"),
            (200, chunked, Delivery::UntilClose, false, "X-For: 192.0.2.7 | Connection: close"),
            // HEAD and 304 announce what would have come; 204 may not.
            (200, length, Delivery::Empty, true, "Content-Length: 5 | X-For: 192.0.2.7"),
            (304, length, Delivery::Empty, true, "Content-Length: 5 | X-For: 192.0.2.7"),
            (204, length, Delivery::Empty, true, "X-For: 192.0.2.7"),
        ] {
            assert_eq!(passed_on(status, fields, delivery, keep), expected, "{status} {delivery:?}");
        }
    }

    #[test]
    fn what_is_hidden_or_belongs_to_one_hop_does_not_pass() {
        let fields: Lines<'_> = &[
            (b"X-Hidden", b"1"),
            (b"X-Named", b"2"),
            (b"Connection", b"x-named, keep-alive"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Server", b"app"),
        ];
        assert_eq!(passed_on(204, fields, Delivery::Empty, true), "Server: app | X-For: 192.0.2.7");
    }

    #[test]
    fn an_upgrade_is_asked_for_unless_it_hides_requests_or_a_body_follows() {
        for (fields, expected) in [
            (&[(&b"Host"[..], &b"a"[..])][..], None),
            (&[(b"Host", b"a"), (b"Upgrade", b"websocket")], None),
            (&[(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"websocket")], Some("websocket")),
            (&[(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"x, H2C")], None),
            (&[(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"x"), (b"Content-Length", b"1")], None),
        ] {
            assert_eq!(upgrade(&request(fields)), expected.map(str::as_bytes), "{fields:?}");
        }
    }
}
