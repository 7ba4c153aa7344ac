//! Which form has a request target?

use super::word::{equal, find, invisible};
use super::{Method, Reason, host};

/// The forms of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://authority/path?query`: the authority replaces what `Host` says.
    Absolute,
    /// `host:port`, of CONNECT alone.
    Authority,
    /// `*`, of OPTIONS alone.
    Asterisk,
}

/// A target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) form: Form,
    pub(super) authority: Option<&'a [u8]>,
    /// Path and query as written; in the absolute form the path may be missing.
    pub(super) rest: &'a [u8],
}

/// Marks the bytes of a word that a target may not have. Only visible ASCII is accepted and no fragment: nginx lets bytes
/// from 0x80 on and `#` pass, which the backend may read otherwise than the router. What RFC 3986 wants escaped but
/// browsers send (`|`, `^`, `"`, …) passes, as in nginx.
#[inline(always)]
pub(super) fn forbidden(word: u64) -> u64 {
    invisible(word) | equal(word, b'#')
}

impl<'a> Target<'a> {
    /// Takes the target apart.
    pub(super) fn read(method: Method, target: &'a [u8]) -> Result<Target<'a>, Reason> {
        if find(target, forbidden) != target.len() {
            return Err(Reason::TargetByte);
        }
        let whole = |form| Ok(Target { form, authority: None, rest: target });
        match (method, target) {
            (Method::Connect, authority) => match host::split_port(authority) {
                (_, Some(_)) if host::is_authority(authority) => {
                    Ok(Target { form: Form::Authority, authority: Some(authority), rest: b"" })
                }
                _ => Err(Reason::Target),
            },
            (_, [b'/', ..]) => whole(Form::Origin),
            (Method::Options, b"*") => whole(Form::Asterisk),
            _ => Target::absolute(target).ok_or(Reason::Target),
        }
    }

    fn absolute(target: &'a [u8]) -> Option<Target<'a>> {
        let rest = without_scheme(target, b"http://").or_else(|| without_scheme(target, b"https://"))?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // An authority with user information fails here as well (RFC 9110 §4.2.4).
        host::is_authority(authority).then_some(Target { form: Form::Absolute, authority: Some(authority), rest })
    }
}

fn without_scheme<'a>(target: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (begin, rest) = target.split_at_checked(scheme.len())?;
    begin.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, target: &str) -> Result<(Form, Option<&str>, &str), Reason> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        Target::read(method, target.as_bytes()).map(|read| (read.form, read.authority.map(text), text(read.rest)))
    }

    #[test]
    fn the_four_forms() {
        use Method::*;
        assert_eq!(read(Get, "/"), Ok((Form::Origin, None, "/")));
        assert_eq!(read(Get, "//a//b?c?d"), Ok((Form::Origin, None, "//a//b?c?d")));
        assert_eq!(read(Get, "/a|b^\"<>\\`{}"), Ok((Form::Origin, None, "/a|b^\"<>\\`{}")));
        assert_eq!(read(Options, "*"), Ok((Form::Asterisk, None, "*")));
        assert_eq!(read(Get, "http://a/b?c"), Ok((Form::Absolute, Some("a"), "/b?c")));
        assert_eq!(read(Get, "HTTPS://[::1]:8/"), Ok((Form::Absolute, Some("[::1]:8"), "/")));
        assert_eq!(read(Get, "http://a"), Ok((Form::Absolute, Some("a"), "")));
        assert_eq!(read(Get, "http://a?b"), Ok((Form::Absolute, Some("a"), "?b")));
        assert_eq!(read(Connect, "a:443"), Ok((Form::Authority, Some("a:443"), "")));
    }

    #[test]
    fn a_method_has_only_its_own_forms() {
        use Method::*;
        let cases = [
            (Get, "*"),
            (Options, "**"),
            (Get, "a:443"),
            (Get, "index.html"),
            (Get, "?a"),
            (Get, "http:/a"),
            (Get, "http:a"),
            (Get, "http:///a"),
            (Get, "http://"),
            (Get, "http://user@a/"),
            (Get, "http://a:b/"),
            (Get, "http://a\\b/"),
            (Get, "ftp://a/"),
            (Get, "httpx://a/"),
            (Connect, "/"),
            (Connect, "a"),
            (Connect, "a:"),
            (Connect, "http://a:1/"),
            (Connect, "*"),
            (Other, ""),
        ];
        for (method, target) in cases {
            assert_eq!(read(method, target), Err(Reason::Target), "{method:?} {target}");
        }
    }

    #[test]
    fn only_visible_ascii_and_no_fragment() {
        for target in ["/a b", "/\0", "/\t", "/\r", "/\x1f", "/\x7f", "/\u{e9}", "/a#b", "#", "http://a/#"] {
            assert_eq!(read(Method::Get, target), Err(Reason::TargetByte), "{target:?}");
        }
    }
}
