//! What do the two ends of a WebSocket say to show that each means it (RFC 6455 §4)?
//!
//! HTTP/2 leaves that out (RFC 8441 §5), so where only one side of an exchange speaks it, weir is the end that the other one
//! wants to see: it asks with a key, or answers one.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::http1::{Method, RequestHead};

/// What a client's key is joined with for the answer (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A `Sec-WebSocket-Key`: 16 random bytes in base64.
pub fn new_key() -> String {
    base64(&rand::random::<[u8; 16]>())
}

/// The `Sec-WebSocket-Accept` that answers a key (RFC 6455 §4.2.2).
pub fn accept(key: &[u8]) -> String {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref())
}

/// Whether a request for the upgrade to `websocket` is one that may be agreed to: a GET with one key (RFC 6455 §4.2.1).
pub fn is_handshake(head: &RequestHead) -> bool {
    let mut keys = head.fields_named(b"sec-websocket-key");
    let one = keys.next().is_some_and(is_key) && keys.next().is_none();
    one && head.method_kind() == Method::Get
}

/// 16 bytes in base64, whatever its last letter says beyond them.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|letters| letters.len() == 22 && letters.iter().all(|at| LETTERS.contains(at)))
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
            out.push(if at <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    #[test]
    fn a_key_is_answered_as_in_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_fills_up_what_is_no_multiple_of_three() {
        for (bytes, expected) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcdef", "YWJjZGVm")] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }

    #[test]
    fn a_handshake_has_one_key_of_16_bytes() {
        let (key, short): (&[u8], &[u8]) = (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ==");
        for (method, keys, expected) in [
            ("GET", &[key][..], true),
            ("GET", &[new_key().as_bytes()], true),
            ("GET", &[], false),
            ("GET", &[key, key], false),
            ("GET", &[short], false),
            ("GET", &[b"dGhlIHNhbXBsZSBub25jZ?=="], false),
            ("POST", &[key], false),
        ] {
            let mut head = RequestHead::new();
            let fields = keys.iter().map(|key| (&b"Sec-WebSocket-Key"[..], *key));
            head.compose(method.as_bytes(), b"/", fields.chain([(&b"Host"[..], &b"a"[..])]), &Limits::default())
                .unwrap();
            assert_eq!(is_handshake(&head), expected, "{method} {keys:?}");
        }
    }
}
