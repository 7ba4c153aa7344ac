//! How is a request answered that a `return` is for? (nginx: `ngx_http_send_response`.)

use super::answer::write_whole;
use super::connection::{After, Connection};
use super::headers::templated;
use super::reply::{begin_head, end_head};
use super::scratch::Scratch;
use super::story::Story;
use super::variables::Scope;
use crate::config::model::Return;
use crate::config::template::Template;
use crate::http1::{Method, Version, encode};
use crate::topology::Route;

/// Answers what the location says. Unless `keep`, the connection ends with it. 444 ends it without an answer, as in nginx.
pub async fn answer_fixed(
    conn: &mut Connection,
    s: &mut Scratch,
    story: &mut Story,
    route: &Route,
    fixed: &Return,
    keep: bool,
) -> After {
    story.status = fixed.status;
    if fixed.status == NO_ANSWER {
        return After::Close;
    }
    let mut out = std::mem::take(&mut s.to_client);
    let scope = story.scope(conn, s, Some(route));
    let bare = s.request.method_kind() == Method::Head;
    let body = write(
        &mut out,
        fixed,
        &route.location.add_header,
        &scope,
        Framing { hsts: story.hsts.as_deref(), keep, bare, client: s.request.version() },
    );
    s.to_client = out;
    story.body_sent = body;
    story.sent = s.to_client.len() as u64;
    match write_whole(conn, s, route.client.send_timeout, body).await {
        Ok(()) if keep => After::KeepAlive,
        Ok(()) => After::Linger,
        Err(_) => After::Reset,
    }
}

/// nginx's status for a connection that is closed without a word.
const NO_ANSWER: u16 = 444;

/// How the answer is framed.
#[derive(Clone, Copy)]
struct Framing<'a> {
    /// Strict-Transport-Security.
    hsts: Option<&'a str>,
    keep: bool,
    /// The request was HEAD.
    bare: bool,
    client: Version,
}

/// Writes head and body. Returns the length of the body.
fn write(
    out: &mut Vec<u8>,
    fixed: &Return,
    add: &[(String, Template)],
    scope: &Scope<'_>,
    framing: Framing<'_>,
) -> u64 {
    let phrase = encode::reason_phrase(fixed.status);
    let mut body = Vec::new();
    match &fixed.text {
        Some(text) => scope.append(text, &mut body),
        // What a person sees who is not sent elsewhere; nginx has a page for it.
        None if fixed.status >= 300 && !has_no_body(fixed.status) => {
            encode::decimal(&mut body, fixed.status.into());
            body.extend_from_slice(format!(" {phrase}\n").as_bytes());
        }
        None => {}
    }
    begin_head(out, fixed.status);
    if let Some(location) = &fixed.location {
        let mut url = Vec::new();
        scope.append(location, &mut url);
        encode::field(out, b"Location", &escaped(&url));
    }
    let is_typed = add.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !body.is_empty() && !is_typed {
        encode::field(out, b"Content-Type", b"text/plain; charset=utf-8");
    }
    if let Some(hsts) = framing.hsts {
        encode::field(out, b"Strict-Transport-Security", hsts.as_bytes());
    }
    for (name, template) in add {
        templated(out, name, template, scope);
    }
    if !has_no_body(fixed.status) {
        encode::content_length(out, body.len() as u64);
    }
    end_head(out, framing.client, framing.keep);
    if framing.bare || has_no_body(fixed.status) {
        return 0;
    }
    out.extend_from_slice(&body);
    body.len() as u64
}

fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// A URL with everything encoded that could end it or the line: a path comes decoded (`$uri`), and may hold line breaks.
fn escaped(url: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(url.len());
    for &byte in url {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=b' ' | 0x7f.. => {
                out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_url_ends_its_line() {
        for (url, expected) in [
            ("https://a.test/x?y=1%20", "https://a.test/x?y=1%20"),
            ("https://a.test/x\r\nSet-Cookie: a=b", "https://a.test/x%0D%0ASet-Cookie:%20a=b"),
            ("/ä\"<>\0", "/%C3%A4%22%3C%3E%00"),
        ] {
            assert_eq!(String::from_utf8(escaped(url.as_bytes())).unwrap(), expected);
        }
    }
}
