//! How is a message written?
//!
//! Everything appends to a buffer of the caller's and allocates nothing else. What is written is trusted: values that
//! came with an accepted head are safe, others must be checked with [`is_name`] and [`is_value`] when they are made.

use super::{FieldSection, Version};

/// What ends a line, and a chunk's data.
pub const CRLF: &[u8] = b"\r\n";

/// `GET /path HTTP/1.1`: always the version that is spoken here, 1.1.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK`. The status must have three digits.
pub fn status_line(out: &mut Vec<u8>, version: Version, status: u16, reason: &[u8]) {
    out.extend_from_slice(match version {
        Version::Http10 => b"HTTP/1.0 ",
        // What is written here is spoken on a connection of HTTP/1.
        Version::Http11 | Version::Http2 => b"HTTP/1.1 ",
    });
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(CRLF);
}

/// `Name: value`.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// `Content-Length: n`.
pub fn content_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, n);
    out.extend_from_slice(CRLF);
}

/// The empty line that ends a head.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(CRLF);
}

/// The line before a chunk's data; nothing for 0, which would be the last chunk. [`CRLF`] follows the data.
pub fn chunk_header(out: &mut Vec<u8>, len: u64) {
    if len > 0 {
        hex(out, len);
        out.extend_from_slice(CRLF);
    }
}

/// A whole chunk; nothing for empty data.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        chunk_header(out, data.len() as u64);
        out.extend_from_slice(data);
        out.extend_from_slice(CRLF);
    }
}

/// The last chunk and the trailers: the end of a chunked body.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &FieldSection) {
    out.extend_from_slice(b"0\r\n");
    for trailer in trailers.iter() {
        field(out, trailer.name, trailer.value);
    }
    out.extend_from_slice(CRLF);
}

/// A number in decimal digits.
pub fn decimal(out: &mut Vec<u8>, n: u64) {
    match n {
        // Short lengths.
        0..10 => out.push(digit(n)),
        10..100 => out.extend_from_slice(&[digit(n / 10), digit(n % 10)]),
        100..1000 => out.extend_from_slice(&[digit(n / 100), digit(n / 10 % 10), digit(n % 10)]),
        _ => digits::<10>(out, n),
    }
}

/// An address of IPv4: joined first, for it stands in several fields of every request.
pub fn ipv4(out: &mut Vec<u8>, octets: [u8; 4]) {
    let (mut text, mut at) = ([0; "255.255.255.255".len()], 0);
    let mut put = |byte| {
        text[at] = byte;
        at += 1;
    };
    for (i, octet) in octets.into_iter().enumerate() {
        if i > 0 {
            put(b'.');
        }
        if octet >= 100 {
            put(b'0' + octet / 100);
        }
        if octet >= 10 {
            put(b'0' + octet / 10 % 10);
        }
        put(b'0' + octet % 10);
    }
    out.extend_from_slice(&text[..at]);
}

fn digit(n: u64) -> u8 {
    b"0123456789"[n as usize % 10]
}

/// A number in lower-case hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, n: u64) {
    digits::<16>(out, n);
}

fn digits<const BASE: u64>(out: &mut Vec<u8>, mut n: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b"0123456789abcdef"[(n % BASE) as usize];
        n /= BASE;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// The usual text of a status (RFC 9110 §15 and the registry); empty for one that has none.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Whether this can be a field name, or a method: a token (RFC 9110 §5.6.2).
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| IN_TOKENS[usize::from(byte)])
}

static IN_TOKENS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
            | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    table
};

/// Whether this can be a field value: no control characters but the tab.
pub fn is_value(value: &[u8]) -> bool {
    value.iter().fold(true, |good, &byte| good & ((byte >= b' ') & (byte != 0x7f) | (byte == b'\t')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_are_as_the_standard_library_writes_them() {
        for octets in [[0; 4], [255; 4], [127, 0, 0, 1], [10, 99, 100, 9], [1, 20, 203, 250]] {
            let mut out = Vec::new();
            ipv4(&mut out, octets);
            assert_eq!(String::from_utf8(out).unwrap(), std::net::Ipv4Addr::from(octets).to_string());
        }
    }

    #[test]
    fn lines() {
        assert_eq!(written(|out| request_line(out, b"GET", b"/a?b")), "GET /a?b HTTP/1.1\r\n");
        assert_eq!(written(|out| status_line(out, Version::Http11, 204, b"No Content")), "HTTP/1.1 204 No Content\r\n");
        assert_eq!(written(|out| status_line(out, Version::Http10, 299, b"")), "HTTP/1.0 299 \r\n");
        assert_eq!(written(|out| field(out, b"X-A", b"b c")), "X-A: b c\r\n");
        assert_eq!(written(|out| content_length(out, 1234)), "Content-Length: 1234\r\n");
    }

    #[test]
    fn numbers() {
        for n in [0, 1, 9, 10, 15, 16, 255, 256, 99_999, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(written(|out| decimal(out, n)), format!("{n}"));
            assert_eq!(written(|out| hex(out, n)), format!("{n:x}"));
        }
    }

    #[test]
    fn chunks_are_never_the_last_one_by_accident() {
        assert_eq!(written(|out| chunk(out, b"0123456789abcdefg")), "11\r\n0123456789abcdefg\r\n");
        assert_eq!(written(|out| chunk(out, b"")), "");
        assert_eq!(written(|out| chunk_header(out, 0)), "");
        assert_eq!(written(|out| last_chunk(out, &FieldSection::default())), "0\r\n\r\n");
    }

    #[test]
    fn names_are_tokens_and_values_are_without_controls() {
        assert!(is_name(b"X-Abc_1!"));
        for byte in 0..=255u8 {
            let token = byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(is_name(&[byte]), token, "{byte:#x}");
        }
        for bad in ["", "a b", "a:", "a\r", "a\0", "\u{e9}", "(a)", "a/b", "a@b", "a=b", "\"a\"", "a,b"] {
            assert!(!is_name(bad.as_bytes()), "{bad:?}");
        }
        assert!(is_value("a \t\u{e9}~".as_bytes()) && is_value(b""));
        for bad in ["a\rb", "a\nb", "a\0", "\x1b", "\x7f"] {
            assert!(!is_value(bad.as_bytes()), "{bad:?}");
        }
    }
}
