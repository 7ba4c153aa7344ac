//! How is a message written?
//!
//! Everything appends to a buffer of the caller's and allocates nothing else. What is written is trusted: values that
//! came with an accepted head are safe, others must be checked with [`is_name`] and [`is_value`] when they are made.

use std::io::Write;
use std::net::IpAddr;

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
    let version = match version {
        Version::Http10 => b"HTTP/1.0 ",
        // What is written here is spoken on a connection of HTTP/1.
        Version::Http11 | Version::Http2 => b"HTTP/1.1 ",
    };
    let digits = [status / 100, status / 10, status].map(|n| digit(n.into()));
    out.extend_from_slice(version);
    out.extend_from_slice(&digits);
    out.push(b' ');
    line(out, reason);
}

/// The end of a line, and what ends it.
pub fn line(out: &mut Vec<u8>, end: &[u8]) {
    out.reserve(end.len() + CRLF.len());
    out.extend_from_slice(end);
    out.extend_from_slice(b"\r\n");
}

/// `Name: value`.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    line(out, value);
}

/// `Content-Length: n`.
pub fn content_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"Content-Length: ");
    line(out, Digits::decimal(n).as_bytes());
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
    out.extend_from_slice(Digits::decimal(n).as_bytes());
}

/// The digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    text: [u8; 20],
    at: usize,
}

impl Digits {
    /// In decimal.
    pub fn decimal(n: u64) -> Digits {
        Digits::of::<10>(n)
    }

    fn of<const BASE: u64>(mut n: u64) -> Digits {
        let mut digits = Digits { text: [0; 20], at: 20 };
        loop {
            digits.at -= 1;
            digits.text[digits.at] = b"0123456789abcdef"[(n % BASE) as usize];
            n /= BASE;
            if n == 0 {
                return digits;
            }
        }
    }

    /// Them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.at..]
    }
}

/// An address as text.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    text: [u8; LONGEST_ADDRESS],
    len: usize,
}

const LONGEST_ADDRESS: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Each with a dot behind it.
static OCTETS: [[u8; 4]; 256] = {
    let mut all = [[b'.'; 4]; 256];
    let mut n = 0;
    while n < 256 {
        let (hundreds, tens, ones) = (n / 100, n / 10 % 10, n % 10);
        let (hundreds, tens, ones) = (b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8);
        all[n] = match n {
            100.. => [hundreds, tens, ones, b'.'],
            10.. => [tens, ones, b'.', b'.'],
            _ => [ones, b'.', b'.', b'.'],
        };
        n += 1;
    }
    all
};

impl Address {
    /// As the standard library writes it, but an address of IPv4, as most are, without its machinery.
    pub fn of(address: IpAddr) -> Address {
        let mut text = [0; LONGEST_ADDRESS];
        let len = match address {
            IpAddr::V4(v4) => {
                let mut at = 0;
                for octet in v4.octets() {
                    text[at..at + 4].copy_from_slice(&OCTETS[usize::from(octet)]);
                    at += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
                }
                at - 1
            }
            IpAddr::V6(v6) => {
                let mut rest = &mut text[..];
                // It fits.
                let _ = write!(rest, "{v6}");
                LONGEST_ADDRESS - rest.len()
            }
        };
        Address { text, len }
    }

    /// It.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

fn digit(n: u64) -> u8 {
    b"0123456789"[n as usize % 10]
}

/// A number in lower-case hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(Digits::of::<16>(n).as_bytes());
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
        let octets = (0..=255).map(|n: u8| IpAddr::from([n, 255 - n, n / 2, n ^ 0x55]));
        let longest = IpAddr::from([0xffff; 8]);
        let others =
            [longest, IpAddr::from([0; 16]), "::ffff:255.255.255.255".parse().unwrap(), "fe80::1".parse().unwrap()];
        for address in octets.chain(others) {
            assert_eq!(std::str::from_utf8(Address::of(address).as_bytes()).unwrap(), address.to_string());
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
