//! `redirect_to_https`: where is a plain request sent, and how?

use std::io::Write;

use super::answer::write_all;
use super::connection::{After, Connection};
use super::reply::{begin_head, end_head};
use super::scratch::Scratch;
use super::story::Story;
use crate::http1::{Known, Method, RequestHead, encode};

/// Where browsers expect TLS, so that the port is not named.
const HTTPS: u16 = 443;
/// How long a client may take to read it.
const ANSWER_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// Whether the client's own connection is within TLS, seen from here or by a trusted proxy before.
pub fn is_secure(conn: &Connection, head: &RequestHead) -> bool {
    if conn.client.security.facts().is_some() {
        return true;
    }
    let said = head.field(Known::XForwardedProto).is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
    said && conn.worker.with(|topology| topology.config().trusted_proxies.trusts(conn.client.remote))
}

/// Answers with the same target over TLS, at `port`. A method that must not become GET is told to stay (308).
pub async fn answer(
    conn: &mut Connection,
    s: &mut Scratch,
    story: &mut Story,
    host: &[u8],
    port: u16,
    keep: bool,
) -> After {
    let method = s.request.method_kind();
    story.status = if matches!(method, Method::Get | Method::Head) { 301 } else { 308 };
    let location = location(host, port, s.request.origin_form());
    let phrase = encode::reason_phrase(story.status);
    let body = format!("{} {phrase}: this server is reached by https\n", story.status);
    let out = &mut s.to_client;
    begin_head(out, story.status);
    encode::field(out, b"Content-Type", b"text/plain; charset=utf-8");
    encode::content_length(out, body.len() as u64);
    encode::field(out, b"Location", &location);
    end_head(out, s.request.version(), keep);
    if method != Method::Head {
        out.extend_from_slice(body.as_bytes());
        story.body_sent = body.len() as u64;
    }
    story.sent = out.len() as u64;
    match write_all(conn, s, ANSWER_TIME).await {
        Ok(()) if keep => After::KeepAlive,
        Ok(()) => After::Linger,
        Err(_) => After::Reset,
    }
}

/// `host` without a port; `target` in origin form, or `*`.
fn location(host: &[u8], port: u16, target: &[u8]) -> Vec<u8> {
    let mut url = [b"https://", host].concat();
    if port != HTTPS {
        // Writing to a vector cannot fail.
        let _ = write!(url, ":{port}");
    }
    if !target.starts_with(b"/") {
        url.push(b'/');
    }
    if target != b"*" {
        url.extend_from_slice(target);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_target_stay_and_the_port_is_named_if_it_is_not_the_usual_one() {
        for (host, port, target, url) in [
            ("a.test", 443, "/x?y=1", "https://a.test/x?y=1"),
            ("a.test", 8443, "/", "https://a.test:8443/"),
            ("[::1]", 8443, "/", "https://[::1]:8443/"),
            ("a.test", 443, "*", "https://a.test/"),
            ("a.test", 443, "?q", "https://a.test/?q"),
        ] {
            assert_eq!(location(host.as_bytes(), port, target.as_bytes()), url.as_bytes());
        }
    }
}
