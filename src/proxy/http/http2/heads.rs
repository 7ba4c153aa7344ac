//! Heads of HTTP/2 and their text in HTTP/1.1, each way.

use h2::ext::Protocol;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response, StatusCode};

use crate::http1::{Known, Limits, Reason, Reject, RequestHead, encode};
use crate::proxy::http::{headers, websocket};

const WEBSOCKET_KEY: &[u8] = b"Sec-WebSocket-Key";
const WEBSOCKET_ACCEPT: &[u8] = b"Sec-WebSocket-Accept";

/// Makes the head of a request as if it had come by HTTP/1.1: `:authority` becomes Host (RFC 9113 §8.3.1), crumbs of a
/// cookie become one (§8.2.3), and an extended CONNECT (RFC 8441) the request for an upgrade. `open`: its stream goes on.
/// Fields that belong to a connection of HTTP/1.1 were refused by the library (§8.2.2).
///
/// # Errors
/// What the rules of HTTP/1.1 refuse is refused here, and an authority that Host contradicts.
pub fn compose<B>(out: &mut RequestHead, request: &Request<B>, open: bool, limits: &Limits) -> Result<(), Reject> {
    let (uri, headers) = (request.uri(), request.headers());
    let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
    let authority = uri.authority().map(Authority::as_str);
    let host = match (authority, headers.get(http::header::HOST)) {
        (Some(authority), Some(host)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            return Err(Reject { status: 400, reason: Reason::ManyHosts });
        }
        (Some(authority), _) => Some(authority.as_bytes()),
        (None, host) => host.map(HeaderValue::as_bytes),
    };
    if headers.get_all(http::header::HOST).iter().nth(1).is_some() {
        return Err(Reject { status: 400, reason: Reason::ManyHosts });
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (method, target) = match (request.method(), protocol) {
        (&Method::CONNECT, Some(_)) => ("GET", path),
        (&Method::CONNECT, None) => ("CONNECT", authority.unwrap_or_default()),
        (method, _) => (method.as_str(), path),
    };
    let cookie = joined_cookie(headers);
    let is_websocket = |protocol: &&str| protocol.as_bytes().eq_ignore_ascii_case(headers::WEBSOCKET);
    let key = protocol.filter(is_websocket).map(|_| websocket::new_key());
    let named = |name: Known| name.name().as_bytes();
    let before = host.map(|host| (named(Known::Host), host)).into_iter();
    let upgrade = protocol.into_iter().flat_map(|protocol| {
        [(named(Known::Connection), &b"upgrade"[..]), (named(Known::Upgrade), protocol.as_bytes())]
    });
    let key = key.as_ref().map(|key| (WEBSOCKET_KEY, key.as_bytes()));
    // HTTP/2 has no use for it, so a client's own would be a second one.
    let replaced = |name: &HeaderName| key.is_some() && name.as_str().as_bytes().eq_ignore_ascii_case(WEBSOCKET_KEY);
    let crumbs = |name: &HeaderName| cookie.is_some() && name == http::header::COOKIE;
    let fields = headers
        .iter()
        .filter(|(name, _)| *name != http::header::HOST && !crumbs(name) && !replaced(name))
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let cookie = cookie.as_deref().map(|cookie| (named(Known::Cookie), cookie));
    let all = before.chain(upgrade).chain(key).chain(fields).chain(cookie);
    out.compose_http2(method.as_bytes(), target.as_bytes(), all, open && protocol.is_none(), limits)
}

/// The crumbs of a cookie in one piece, if there are several.
fn joined_cookie(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut crumbs = headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes);
    let (first, second) = (crumbs.next()?, crumbs.next()?);
    let mut joined = [first, b"; ", second].concat();
    for crumb in crumbs {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb);
    }
    Some(joined)
}

/// The lines that `bytes` consist of, each ended by CR LF.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest[..end].strip_suffix(b"\r")?;
        rest = &rest[end + 1..];
        Some(line)
    })
}

/// A head in text, the bytes it takes up, and its fields.
struct Text<'a> {
    len: usize,
    first: &'a [u8],
    lines: &'a [u8],
}

impl<'a> Text<'a> {
    /// The head that `bytes` begin with, which weir itself has written.
    fn of(bytes: &'a [u8]) -> Option<Text<'a>> {
        let first = lines(bytes).next()?;
        let fields = first.len() + 2;
        let mut len = fields;
        for line in lines(&bytes[fields..]) {
            if line.is_empty() {
                return Some(Text { len: len + 2, first, lines: &bytes[fields..len] });
            }
            len += line.len() + 2;
        }
        None
    }

    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        lines(self.lines).filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The fields that HTTP/2 knows.
    fn headers(&self, skip: impl Fn(Known, &[u8]) -> bool) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.fields() {
            let known = Known::of(name);
            // Of a connection's own fields one remains, with one value (RFC 9113 §8.2.2).
            let passes = !known.is_hop_by_hop() || known == Known::Te && value.eq_ignore_ascii_case(b"trailers");
            if passes && !skip(known, name) {
                headers.try_append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?).ok()?;
            }
        }
        Some(headers)
    }
}

/// The answer whose head is the text that `bytes` begin with, and how long that is. The agreement to an upgrade becomes
/// the 200 of an extended CONNECT.
pub fn answer_of_text(bytes: &[u8]) -> Option<(usize, Response<()>)> {
    let text = Text::of(bytes)?;
    let status = StatusCode::from_bytes(text.first.split(|&byte| byte == b' ').nth(1)?).ok()?;
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut response = Response::new(());
    *response.status_mut() = if switches { StatusCode::OK } else { status };
    *response.headers_mut() = text.headers(|_, name| switches && name.eq_ignore_ascii_case(WEBSOCKET_ACCEPT))?;
    Some((text.len, response))
}

/// A request to be sent.
pub struct Outgoing {
    /// How long its text is.
    pub len: usize,
    /// Its head.
    pub request: Request<()>,
    /// What an extended CONNECT asks for.
    pub tunnel: Option<Box<Tunnel>>,
}

/// What was asked for by an extended CONNECT (RFC 8441), the upgrade of HTTP/1.1.
#[derive(Debug)]
pub struct Tunnel {
    protocol: Protocol,
    /// What the client expects of whoever agrees to a WebSocket, as a server of HTTP/2 does not say.
    accept: Option<String>,
}

/// The request whose head is the text that `bytes` begin with. One for an upgrade becomes an extended CONNECT.
pub fn request_of_text(bytes: &[u8], scheme: Scheme) -> Option<Outgoing> {
    let text = Text::of(bytes)?;
    let mut words = text.first.split(|&byte| byte == b' ');
    let (method, target) = (Method::from_bytes(words.next()?).ok()?, words.next()?);
    let field = |wanted: Known| text.fields().find(|(name, _)| Known::of(name) == wanted).map(|(_, value)| value);
    let tunnel = match field(Known::Upgrade) {
        None => None,
        Some(protocol) => {
            let key = text.fields().find(|(name, _)| name.eq_ignore_ascii_case(WEBSOCKET_KEY));
            let protocol = Protocol::from(std::str::from_utf8(protocol).ok()?);
            Some(Box::new(Tunnel { protocol, accept: key.map(|(_, key)| websocket::accept(key)) }))
        }
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(Authority::try_from(field(Known::Host)?).ok()?);
    uri.path_and_query = Some(PathAndQuery::try_from(escaped(target).as_slice()).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    let is_key = |name: &[u8]| tunnel.is_some() && name.eq_ignore_ascii_case(WEBSOCKET_KEY);
    *request.headers_mut() = text.headers(|known, name| known == Known::Host || is_key(name))?;
    if let Some(tunnel) = &tunnel {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(tunnel.protocol.clone());
    }
    Some(Outgoing { len: text.len, request, tunnel })
}

/// Three characters that no URI has (RFC 3986 §2) and the library does not send, though HTTP/1.1 bears them.
fn escaped(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len());
    for &byte in target {
        match byte {
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            b'`' => out.extend_from_slice(b"%60"),
            _ => out.push(byte),
        }
    }
    out
}

/// The head of an answer as text.
pub fn text_of_answer(response: &Response<()>) -> Vec<u8> {
    let status = response.status().as_u16();
    let mut out = Vec::with_capacity(256);
    status_line(&mut out, status);
    for (name, value) in response.headers() {
        encode::field(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    encode::end_of_head(&mut out);
    out
}

/// The same of the success of an extended CONNECT: the agreement to an upgrade.
pub fn text_of_agreement(response: &Response<()>, tunnel: &Tunnel) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    status_line(&mut out, 101);
    encode::field(&mut out, b"Connection", b"upgrade");
    encode::field(&mut out, b"Upgrade", tunnel.protocol.as_str().as_bytes());
    if let Some(accept) = &tunnel.accept {
        encode::field(&mut out, WEBSOCKET_ACCEPT, accept.as_bytes());
    }
    for (name, value) in response.headers() {
        // What follows has no length, whatever the head says (RFC 9110 §9.3.6).
        let is_said = name.as_str().as_bytes().eq_ignore_ascii_case(WEBSOCKET_ACCEPT);
        if !is_said && name != http::header::CONTENT_LENGTH {
            encode::field(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    encode::end_of_head(&mut out);
    out
}

fn status_line(out: &mut Vec<u8>, status: u16) {
    encode::status_line(out, crate::http1::Version::Http11, status, encode::reason_phrase(status).as_bytes());
}

/// Trailers as the library takes them.
pub fn trailers<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            // Fails only beyond 32,768 of them, and there are at most 64.
            let _ = trailers.try_append(name, value);
        }
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(request: http::request::Builder, open: bool) -> Result<RequestHead, u16> {
        let mut head = RequestHead::new();
        let request = request.body(()).unwrap();
        compose(&mut head, &request, open, &Limits::default()).map_err(|reject| reject.status)?;
        Ok(head)
    }

    fn lines(head: &RequestHead) -> String {
        let mut out = head.request_line().to_vec();
        out.extend_from_slice(b"\r\n");
        head.copy_lines(&mut out, |_| true);
        String::from_utf8(out).unwrap().trim_end().replace("\r\n", " | ")
    }

    #[test]
    fn a_request_reads_as_if_it_had_come_by_http1() {
        let get = || Request::get("http://shop.test/a?b");
        for (request, open, expected) in [
            (get(), false, "GET /a?b HTTP/2.0 | Host: shop.test"),
            (get().header("host", "Shop.test"), false, "GET /a?b HTTP/2.0 | Host: shop.test"),
            (Request::get("/").header("host", "a"), false, "GET / HTTP/2.0 | Host: a"),
            (get().header("te", "trailers"), false, "GET /a?b HTTP/2.0 | Host: shop.test | te: trailers"),
            (
                get().header("cookie", "a=1").header("x-y", "z").header("cookie", "b=2").header("cookie", "c=3"),
                false,
                "GET /a?b HTTP/2.0 | Host: shop.test | x-y: z | Cookie: a=1; b=2; c=3",
            ),
            (
                Request::post("http://a/").header("content-length", "3"),
                true,
                "POST / HTTP/2.0 | Host: a | content-length: 3",
            ),
        ] {
            assert_eq!(lines(&composed(request, open).unwrap()), expected);
        }
    }

    #[test]
    fn a_body_without_a_length_goes_on_in_chunks() {
        use crate::http1::Framing;
        let post = |length: Option<&str>, open| {
            let post = Request::post("http://a/");
            let post = if let Some(length) = length { post.header("content-length", length) } else { post };
            composed(post, open).unwrap().framing()
        };
        assert_eq!(post(None, true), Framing::Chunked);
        assert_eq!(post(Some("5"), true), Framing::Length(5));
        assert_eq!(post(None, false), Framing::None);
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let get = || Request::get("http://a/");
        for (request, status) in [
            (get().header("host", "b"), 400),
            (get().header("host", "a").header("host", "a"), 400),
            (Request::get("/"), 400),
            (get().header("content-length", "1").header("content-length", "2"), 400),
            (get().header("content-length", "x"), 400),
            (Request::get("http://user@a/"), 400),
        ] {
            assert_eq!(composed(request, false).unwrap_err(), status);
        }
    }

    #[test]
    fn an_extended_connect_asks_for_an_upgrade() {
        let connect = Request::connect("http://a/chat")
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13");
        let head = composed(connect, true).unwrap();
        let key = head.fields_named(b"sec-websocket-key").next().unwrap();
        assert!(key.len() == 24 && key.ends_with(b"=="), "{key:?}");
        assert_eq!((head.method(), head.path()), (&b"GET"[..], &b"/chat"[..]));
        assert_eq!((head.upgrade(), head.framing()), (Some(&b"websocket"[..]), crate::http1::Framing::None));
    }

    #[test]
    fn an_answer_loses_what_belongs_to_its_connection() {
        let (len, answer) = answer_of_text(
            b"HTTP/1.1 404 Not Found\r\nServer: app\r\nConnection: close\r\nKeep-Alive: a\r\nX-A: b c \r\n\r\nbody",
        )
        .unwrap();
        assert_eq!(len, 84);
        assert_eq!(answer.status(), 404);
        let fields: Vec<_> = answer.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        assert_eq!(fields, ["server: app", "x-a: b c"]);
    }

    #[test]
    fn a_switch_of_protocols_is_success() {
        let text = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        let (len, answer) = answer_of_text(text).unwrap();
        assert_eq!((len, answer.status().as_u16()), (text.len(), 200));
        assert_eq!(answer.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["sec-websocket-protocol"]);
    }

    #[test]
    fn a_request_of_text_has_its_host_as_authority() {
        let text = b"POST /a?<b> HTTP/1.1\r\nHost: app:5000\r\nTE: trailers\r\nX-A: 1\r\nX-A: 2\r\n\r\n";
        let Outgoing { len, request, tunnel } = request_of_text(text, Scheme::HTTP).unwrap();
        assert_eq!((len, tunnel.is_none()), (text.len(), true));
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("POST", "http://app:5000/a?%3Cb%3E".into())
        );
        let fields: Vec<_> = request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        assert_eq!(fields, ["te: trailers", "x-a: 1", "x-a: 2"]);
    }

    const ASKED: &[u8] = b"GET /chat?x HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    #[test]
    fn an_upgrade_becomes_an_extended_connect() {
        let Outgoing { request, .. } = request_of_text(ASKED, Scheme::HTTPS).unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("CONNECT", "https://app/chat?x".to_owned())
        );
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        let fields: Vec<_> = request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        assert_eq!(fields, ["sec-websocket-version: 13"]);
    }

    #[test]
    fn and_its_success_the_agreement_that_the_client_waits_for() {
        let tunnel = request_of_text(ASKED, Scheme::HTTPS).unwrap().tunnel.unwrap();
        let answer = Response::builder()
            .status(200)
            .header("content-length", "0")
            .header("sec-websocket-accept", "x")
            .header("sec-websocket-protocol", "chat");
        let text = String::from_utf8(text_of_agreement(&answer.body(()).unwrap(), &tunnel)).unwrap();
        assert_eq!(
            text.trim_end().replace("\r\n", " | "),
            "HTTP/1.1 101 Switching Protocols | Connection: upgrade | Upgrade: websocket | \
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo= | sec-websocket-protocol: chat"
        );
    }
}
