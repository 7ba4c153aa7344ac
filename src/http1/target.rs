//! Which path is meant, and what is sent when its prefix is replaced?
//!
//! For routing only: the target itself is forwarded byte for byte.

use std::borrow::Cow;
use std::fmt;

/// A path that cannot be routed: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A `%` without two hexadecimal digits behind it.
    Escape,
    /// `%00`.
    Nul,
    /// `..` above the root.
    AboveRoot,
    /// The path and its normal form disagree about the prefix that is to be replaced.
    Ambiguous,
}

/// The path as nginx compares it with locations (`ngx_http_parse_complex_uri`, `merge_slashes on`): escapes decoded
/// once, an escaped slash or dot counting as a plain one; then dot segments removed and slashes merged. `path` has no
/// query. Borrowed if it is in normal form already; a path that does not begin with `/` (`*`) is left alone.
pub fn normalize(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if is_normal(path) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = Vec::with_capacity(path.len());
    normalize_into(path, &mut out)?;
    Ok(Cow::Owned(out))
}

/// [`normalize`] into a buffer that is used again; what was in `out` is lost.
pub fn normalize_into(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    if is_normal(path) {
        out.extend_from_slice(path);
        return Ok(());
    }
    // `out` ends with a slash wherever `segment` is, so that `..` finds the one before it.
    let mut segment = out.len() + 1;
    out.push(b'/');
    let mut bytes = Unescaped(&path[1..]);
    loop {
        let byte = bytes.next()?;
        if let Some(byte) = byte.filter(|&byte| byte != b'/') {
            out.push(byte);
            continue;
        }
        match &out[segment..] {
            b"" => {}
            b"." => out.truncate(segment),
            b".." if segment == 1 => return Err(PathError::AboveRoot),
            b".." => {
                let parent = memchr::memrchr(b'/', &out[..segment - 1]).map_or(1, |slash| slash + 1);
                out.truncate(parent);
                segment = parent;
            }
            _ if byte.is_some() => {
                out.push(b'/');
                segment = out.len();
            }
            _ => {}
        }
        if byte.is_none() {
            return Ok(());
        }
    }
}

/// Appends to `out` the `path` as it was written, with `replacement` instead of the location's `prefix`.
///
/// Only where the path and its normal form agree: the path must itself begin with the prefix (escapes of ordinary
/// characters in it are fine, of slashes not), and the result, normalised, must be the replacement followed by what
/// follows the prefix in the normal form of `path`. So `/loc/../x` and `/loc%2F..%2Fx` never leave the replacement, nor
/// does `/loc../x` where `/loc` became `/new/`. Otherwise [`PathError::Ambiguous`], and `out` is as it was. `prefix` is
/// in normal form, `replacement` as it is to be sent; both begin with a slash.
pub fn replace_prefix(path: &[u8], prefix: &[u8], replacement: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let meant = normalize(path)?;
    let suffix = meant.strip_prefix(prefix).ok_or(PathError::Ambiguous)?;
    let rest = after_prefix(path, prefix).ok_or(PathError::Ambiguous)?;
    let start = out.len();
    out.extend_from_slice(replacement);
    out.extend_from_slice(rest);
    if replacement.starts_with(b"/") && reads_as(&out[start..], replacement, suffix) {
        return Ok(());
    }
    out.truncate(start);
    Err(PathError::Ambiguous)
}

/// Whether the normal form of `path` is that of `base` followed by `suffix`, which is in normal form.
fn reads_as(path: &[u8], base: &[u8], suffix: &[u8]) -> bool {
    let (Ok(path), Ok(base)) = (normalize(path), normalize(base)) else { return false };
    // `/loc` + `/x` under the replacement `/new/` is sent as `/new//x`, as nginx does, and read as `/new/x`.
    let doubled = base.ends_with(b"/") && suffix.starts_with(b"/");
    path.strip_prefix(&*base) == Some(if doubled { &suffix[1..] } else { suffix })
}

/// What follows the prefix in a path that begins with it, written plainly or with escapes of what is not a slash.
fn after_prefix<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let mut bytes = Unescaped(path);
    for expected in prefix {
        let escaped = bytes.0.first() == Some(&b'%');
        let byte = bytes.next().ok()??;
        if byte != *expected || escaped && byte == b'/' {
            return None;
        }
    }
    Some(bytes.0)
}

/// Whether nothing in the path needs to be changed: no escape, no slash or dot behind a slash.
fn is_normal(path: &[u8]) -> bool {
    let mut behind_slash = false;
    let untouched = |&byte: &u8| {
        let touched = byte == b'%' || behind_slash && matches!(byte, b'/' | b'.');
        behind_slash = byte == b'/';
        !touched
    };
    path.first() != Some(&b'/') || path.iter().all(untouched)
}

/// What is left of a path, to be read with its escapes decoded.
struct Unescaped<'a>(&'a [u8]);

impl Unescaped<'_> {
    fn next(&mut self) -> Result<Option<u8>, PathError> {
        let (byte, rest) = match *self.0 {
            [] => return Ok(None),
            [b'%', high, low, ..] => {
                let digits = (hex_digit(high), hex_digit(low));
                let (Some(high), Some(low)) = digits else { return Err(PathError::Escape) };
                (high << 4 | low, &self.0[3..])
            }
            [b'%', ..] => return Err(PathError::Escape),
            [byte, ..] => (byte, &self.0[1..]),
        };
        if byte == 0 {
            return Err(PathError::Nul);
        }
        self.0 = rest;
        Ok(Some(byte))
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Escape => "malformed percent escape in the path",
            PathError::Nul => "NUL in the path",
            PathError::AboveRoot => "the path leaves the root",
            PathError::Ambiguous => "the path's prefix is ambiguous",
        })
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        let cow = normalize(path.as_bytes()).map(Cow::into_owned);
        let mut into = b"left over".to_vec();
        assert_eq!(normalize_into(path.as_bytes(), &mut into).map(|()| into), cow, "{path}");
        cow.map(|path| String::from_utf8_lossy(&path).into_owned())
    }

    #[test]
    fn paths_are_compared_as_nginx_compares_them() {
        let cases = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//", "/"),
            ("///a////b//", "/a/b/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/b"),
            ("/a/...", "/a/..."),
            ("/.a/..b/c..", "/.a/..b/c.."),
            ("/%61", "/a"),
            ("/a%2fb", "/a/b"),
            ("/a%2F%2Fb", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2f..%2fb", "/b"),
            ("/a/.%2e", "/"),
            ("/a%20b+c", "/a b+c"),
            ("/%3F%23%25", "/?#%"),
            ("/%252e%252e/a", "/%2e%2e/a"),
            ("/%252f", "/%2f"),
            ("/%c3%a9", "/\u{e9}"),
            ("*", "*"),
            ("", ""),
        ];
        for (path, expected) in cases {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn bad_escapes_and_ways_out_of_the_root_are_refused() {
        for path in ["/%", "/%a", "/%g0", "/%0g", "/a%%20", "/%u0041", "/% 1", "/%+1"] {
            assert_eq!(normal(path), Err(PathError::Escape), "{path}");
        }
        assert_eq!(normal("/a%00b"), Err(PathError::Nul));
        for path in ["/..", "/../", "/a/../..", "/%2e%2e/a", "/./../a", "//../a", "/a%2f..%2f.."] {
            assert_eq!(normal(path), Err(PathError::AboveRoot), "{path}");
        }
    }

    #[test]
    fn a_path_in_normal_form_is_borrowed() {
        assert!(matches!(normalize(b"/a/b.c/d-e"), Ok(Cow::Borrowed(_))));
    }

    fn replaced(path: &str, prefix: &str, replacement: &str) -> Result<String, PathError> {
        let mut out = b"GET ".to_vec();
        let done = replace_prefix(path.as_bytes(), prefix.as_bytes(), replacement.as_bytes(), &mut out);
        let text = String::from_utf8(out).unwrap();
        let behind = text.strip_prefix("GET ").unwrap();
        assert!(done.is_ok() || behind.is_empty(), "{path}: nothing is written on failure");
        done.map(|()| behind.to_owned())
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_is_sent_as_it_was_written() {
        let cases = [
            ("/loc/", "/loc/", "/", "/"),
            ("/loc/a", "/loc/", "/", "/a"),
            ("/loc/a", "/loc/", "/new/", "/new/a"),
            ("/loc/a%2Fb%20c", "/loc/", "/new/", "/new/a%2Fb%20c"),
            ("/loc/a/../b", "/loc/", "/new/", "/new/a/../b"),
            ("/loc//a", "/loc/", "/new/", "/new//a"),
            ("/loc", "/loc", "/new", "/new"),
            ("/loc/a", "/loc", "/new/", "/new//a"),
            ("/location", "/loc", "/new/", "/new/ation"),
            ("/l%6Fc/a", "/loc/", "/new/", "/new/a"),
            ("/my%20docs/a", "/my docs/", "/d/", "/d/a"),
            ("/loc/a", "/loc/", "/with%20space/", "/with%20space/a"),
            ("/loc/%252e%252e/a", "/loc/", "/new/", "/new/%252e%252e/a"),
            ("/a", "/", "/new/", "/new/a"),
        ];
        for (path, prefix, replacement, expected) in cases {
            let result = replaced(path, prefix, replacement);
            assert_eq!(result.as_deref(), Ok(expected), "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn a_prefix_about_which_the_readings_differ_is_not_replaced() {
        let cases = [
            ("/x/../loc/a", "/loc/", "/new/"),
            ("//loc/a", "/loc/", "/new/"),
            ("/./loc/a", "/loc/", "/new/"),
            ("/loc%2Fa", "/loc/", "/new/"),
            ("/loc/../loc/a", "/loc/", "/new/"),
            ("/loc/a/../../loc/b", "/loc/", "/new/"),
            ("/loc/%2e%2e/loc/b", "/loc/", "/new/"),
            ("/loc%2f..%2floc/b", "/loc", "/new"),
            ("/loc../x", "/loc", "/new/"),
            ("/loc..%2fx", "/loc", "/new/"),
            ("/loc./x", "/loc", "/new/"),
            ("/other/a", "/loc/", "/new/"),
            ("/loc/../x", "/loc/", "/new/"),
        ];
        for (path, prefix, replacement) in cases {
            let result = replaced(path, prefix, replacement);
            assert_eq!(result, Err(PathError::Ambiguous), "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_read_has_no_prefix() {
        assert_eq!(replaced("/loc/%zz", "/loc/", "/new/"), Err(PathError::Escape));
        assert_eq!(replaced("/loc/../..", "/loc/", "/new/"), Err(PathError::AboveRoot));
    }
}
