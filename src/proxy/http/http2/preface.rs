//! How does a connection of HTTP/2 begin, and how does one end that began in no version at all?

/// How every connection of HTTP/2 begins (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is said to a client whose beginning belongs to no version: SETTINGS without settings, and GOAWAY with
/// PROTOCOL_ERROR (§3.4, §6.8), whose debug data is for whoever reads it in a terminal.
pub const INVALID_PREFACE: &[u8] =
    b"\0\0\0\x04\0\0\0\0\0\0\0\x32\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01neither HTTP/1.1 nor the preface of HTTP/2";

/// Whether a head that was refused was one of HTTP/1.1, however wrong. One that was not shows it by a first line, a whole
/// one, that does not name HTTP or looks like that of the preface.
pub fn is_http1(head: &[u8]) -> bool {
    let begun = head.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(head.len());
    match memchr::memchr(b'\n', &head[begun..]) {
        Some(end) => {
            let line = &head[begun..begun + end];
            memchr::memmem::find(line, b" HTTP/").is_some() && !line.starts_with(b"PRI ")
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_that_names_http_is_one_of_http1() {
        let cases: [(&[u8], bool); 11] = [
            (b"GET / HTTP/1.2x\r\n\r\n", true),
            (b"GET / HTTP/2.0\r\n\r\n", true),
            (b"\r\n\r\nG@T / HTTP/1.1\r\n\r\n", true),
            (b"GET /with a space HTTP/1.1\n", true),
            (b"GET /with\ra return HTTP/1.1\r\n", true),
            (b"GET /too-long", true),
            (b"\r\n\r\n", true),
            (b"INVALID CONNECTION PREFACE\r\n\r\n", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", false),
            (b"GET /\r\nX-Version: HTTP/1.1 HTTP/1.1\r\n", false),
            (b"\x16\x03\x01\x02\0\x01\n", false),
        ];
        for (head, expected) in cases {
            assert_eq!(is_http1(head), expected, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn the_refusal_is_two_frames() {
        let (settings, goaway) = INVALID_PREFACE.split_at(9);
        assert_eq!(settings, [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!((usize::from(goaway[2]), goaway[3]), (goaway.len() - 9, 7));
        assert_eq!(goaway[13..17], [0, 0, 0, 1]);
    }
}
