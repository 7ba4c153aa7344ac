//! What weir itself answers: short, plain text, with a status that is right.

use std::time::Duration;

use crate::clock;
use crate::http1::{Version, encode};

/// An answer of weir's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// One sentence for whoever reads it in a terminal. Says nothing about addresses inside.
    pub text: &'static str,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<Duration>,
}

impl Reply {
    /// An answer without `Retry-After`.
    pub const fn new(status: u16, text: &'static str) -> Reply {
        Reply { status, text, retry_after: None }
    }

    /// Writes head and body. Returns the length of the body. `bare`: the request was HEAD. `hsts`: the value of
    /// Strict-Transport-Security.
    pub fn write(&self, out: &mut Vec<u8>, client: Version, keep_alive: bool, bare: bool, hsts: Option<&str>) -> u64 {
        let phrase = encode::reason_phrase(self.status);
        let mut body = Vec::with_capacity(128);
        encode::decimal(&mut body, self.status.into());
        for piece in [" ", phrase, ": ", self.text, "\n"] {
            body.extend_from_slice(piece.as_bytes());
        }
        begin_head(out, self.status);
        encode::field(out, b"Content-Type", b"text/plain; charset=utf-8");
        encode::content_length(out, body.len() as u64);
        if let Some(after) = self.retry_after {
            let mut seconds = Vec::with_capacity(4);
            encode::decimal(&mut seconds, after.as_secs() + u64::from(after.subsec_nanos() > 0));
            encode::field(out, b"Retry-After", &seconds);
        }
        if let Some(hsts) = hsts {
            encode::field(out, b"Strict-Transport-Security", hsts.as_bytes());
        }
        if self.status == 405 {
            encode::field(out, b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        }
        end_head(out, client, keep_alive);
        if bare {
            return 0;
        }
        out.extend_from_slice(&body);
        body.len() as u64
    }
}

/// How every head of weir's own begins.
pub fn begin_head(out: &mut Vec<u8>, status: u16) {
    encode::status_line(out, Version::Http11, status, encode::reason_phrase(status).as_bytes());
    encode::field(out, b"Server", b"weir");
    encode::field(out, b"Date", httpdate::fmt_http_date(clock::wall()).as_bytes());
}

/// How every head of weir's own ends: with what becomes of the client's connection.
pub fn end_head(out: &mut Vec<u8>, client: Version, keep_alive: bool) {
    if !keep_alive {
        encode::field(out, b"Connection", b"close");
    } else if client == Version::Http10 {
        encode::field(out, b"Connection", b"keep-alive");
    }
    encode::end_of_head(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: Reply, bare: bool) -> String {
        let mut out = Vec::new();
        reply.write(&mut out, Version::Http11, true, bare, None);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_says_in_words_what_its_status_says_in_digits() {
        let text = written(Reply::new(502, "the upstream server sent an invalid answer"), false);
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\nServer: weir\r\nDate: "), "{text}");
        assert!(text.ends_with("\r\n\r\n502 Bad Gateway: the upstream server sent an invalid answer\n"), "{text}");
    }

    #[test]
    fn a_wait_is_announced_in_whole_seconds_rounded_up() {
        let reply = Reply { retry_after: Some(Duration::from_millis(1_200)), ..Reply::new(503, "nobody") };
        assert!(written(reply, false).contains("\r\nRetry-After: 2\r\n"));
    }

    #[test]
    fn head_gets_the_length_but_no_body() {
        let text = written(Reply::new(404, "no location matches"), true);
        assert!(text.contains("\r\nContent-Length: 35\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }
}
