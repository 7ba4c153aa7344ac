//! What does gRPC say within HTTP? Its deadlines, its statuses, and what weir says in its place.
//!
//! The protocol is written down in <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::time::Duration;

use super::reply::Reply;
use crate::http1::{Known, RequestHead, ResponseHead, encode};

/// The longest `grpc-timeout` that makes a difference here.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// DEADLINE_EXCEEDED.
const DEADLINE_EXCEEDED: u8 = 4;

/// Whether a request is a call of gRPC: by its content type, `application/grpc` with or without `+proto`. (gRPC-Web is
/// another protocol.)
pub fn is_call(head: &RequestHead) -> bool {
    let kind = head.field(Known::ContentType).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long the whole call may take, as `grpc-timeout` says: at most eight digits and a unit.
pub fn timeout(head: &RequestHead) -> Option<Duration> {
    let (unit, digits) = head.fields_named(b"grpc-timeout").next()?.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let limit = match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    };
    Some(limit.min(LONGEST))
}

/// The status of an answer that is nothing but its head ("Trailers-Only"): a call that failed before it gave anything.
pub fn status(head: &ResponseHead) -> Option<u8> {
    std::str::from_utf8(head.fields_named(b"grpc-status").next()?).ok()?.parse().ok()
}

/// The name that `proxy_next_upstream` has for a status.
pub fn name(status: u8) -> &'static str {
    match status {
        1 => "grpc_cancelled",
        4 => "grpc_deadline_exceeded",
        8 => "grpc_resource_exhausted",
        13 => "grpc_internal",
        14 => "grpc_unavailable",
        _ => "grpc",
    }
}

/// Writes an answer of weir's own as a client of gRPC understands it: 200, and the trailers in the head.
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nServer: weir\r\nContent-Type: application/grpc\r\ngrpc-status: ");
    encode::decimal(out, status_for(reply).into());
    out.extend_from_slice(b"\r\ngrpc-message: ");
    out.extend_from_slice(reply.text.as_bytes());
    out.extend_from_slice(encode::CRLF);
    encode::end_of_head(out);
}

/// The status of gRPC for one of HTTP, as the protocol's own table maps them
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>); 413 is Envoy's RESOURCE_EXHAUSTED.
fn status_for(reply: &Reply) -> u8 {
    const CANCELLED: u8 = 1;
    const UNKNOWN: u8 = 2;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    match reply.status {
        _ if *reply == DEADLINE => DEADLINE_EXCEEDED,
        400 | 431 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 => UNIMPLEMENTED,
        408 | 499 => CANCELLED,
        413 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// What is answered when `grpc-timeout` has passed.
pub const DEADLINE: Reply = Reply::new(504, "the call's deadline has passed");

/// The same in the midst of an answer.
pub const DEADLINE_TRAILERS: [(&[u8], &[u8]); 2] =
    [(b"grpc-status", b"4"), (b"grpc-message", DEADLINE.text.as_bytes())];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    fn request(name: &str, value: &str) -> RequestHead {
        let mut head = RequestHead::new();
        let fields = [(&b"Host"[..], &b"a"[..]), (name.as_bytes(), value.as_bytes())];
        head.compose(b"POST", b"/", fields, &Limits::default()).unwrap();
        head
    }

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_call(&request("content-type", kind)), expected, "{kind}");
        }
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(LONGEST)),
            ("0m", Some(Duration::ZERO)),
            ("123456789m", None),
            ("m", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
        ] {
            assert_eq!(timeout(&request("grpc-timeout", text)), expected, "{text}");
        }
    }

    #[test]
    fn what_weir_answers_is_said_in_grpc() {
        for (reply, expected) in [
            (Reply::new(502, "x"), 14),
            (Reply::new(503, "x"), 14),
            (Reply::new(504, "x"), 14),
            (DEADLINE, 4),
            (Reply::new(404, "x"), 12),
            (Reply::new(413, "x"), 8),
            (Reply::new(400, "x"), 13),
        ] {
            let mut out = Vec::new();
            write_reply(&mut out, &reply);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(
                text.contains(&format!("\r\ngrpc-status: {expected}\r\ngrpc-message: {}\r\n", reply.text)),
                "{text}"
            );
        }
    }
}
