//! Which of the fields that a proxy has to know is this?

use super::word::{before, find, first, fold, split_word};

macro_rules! known {
    ($($variant:ident $name:literal)*) => {
        /// A field name that the proxy, the log or a template asks for; everything else is [`Known::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant is the field of that name")]
        #[repr(u8)]
        pub enum Known { $($variant,)* Other }

        const NAMES: &[(Known, &str)] = &[$((Known::$variant, $name),)*];
    };
}

known! {
    Te "TE"
    Via "Via"
    Date "Date"
    ETag "ETag"
    Host "Host"
    Vary "Vary"
    Range "Range"
    Accept "Accept"
    Cookie "Cookie"
    Expect "Expect"
    Origin "Origin"
    Server "Server"
    Pragma "Pragma"
    Expires "Expires"
    Referer "Referer"
    Refresh "Refresh"
    Trailer "Trailer"
    Upgrade "Upgrade"
    IfMatch "If-Match"
    IfRange "If-Range"
    Location "Location"
    Forwarded "Forwarded"
    XRealIp "X-Real-IP"
    Connection "Connection"
    KeepAlive "Keep-Alive"
    SetCookie "Set-Cookie"
    UserAgent "User-Agent"
    RetryAfter "Retry-After"
    Traceparent "Traceparent"
    ContentType "Content-Type"
    MaxForwards "Max-Forwards"
    XRequestId "X-Request-ID"
    Authorization "Authorization"
    CacheControl "Cache-Control"
    ContentRange "Content-Range"
    IfNoneMatch "If-None-Match"
    LastModified "Last-Modified"
    ContentLength "Content-Length"
    AcceptEncoding "Accept-Encoding"
    XForwardedFor "X-Forwarded-For"
    ContentEncoding "Content-Encoding"
    ProxyConnection "Proxy-Connection"
    WwwAuthenticate "WWW-Authenticate"
    XForwardedHost "X-Forwarded-Host"
    XForwardedPort "X-Forwarded-Port"
    IfModifiedSince "If-Modified-Since"
    TransferEncoding "Transfer-Encoding"
    XForwardedProto "X-Forwarded-Proto"
    ProxyAuthenticate "Proxy-Authenticate"
    XForwardedPrefix "X-Forwarded-Prefix"
    ProxyAuthorization "Proxy-Authorization"
    IfUnmodifiedSince "If-Unmodified-Since"
}

/// A name in lower case, eight bytes a word, with zeros behind it. No known one is longer.
type Words = [u64; 3];

/// A known name where it is looked for.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Slot {
    words: Words,
    known: Known,
}

/// Every name in a place of its own: one look tells which it can be.
static SLOTS: [Slot; 128] = {
    let mut slots = [Slot { words: [0; 3], known: Known::Other }; 128];
    let mut i = 0;
    while i < NAMES.len() {
        let (known, name) = NAMES[i];
        let mut lower = [0; 24];
        lower.split_at_mut(name.len()).0.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let [a, b, c] = *lower.as_chunks::<8>().0 else { unreachable!() };
        let words = [u64::from_le_bytes(a), u64::from_le_bytes(b), u64::from_le_bytes(c)];
        let place = place(words);
        assert!(slots[place].words[0] == 0, "two names have one place: look for another factor");
        slots[place] = Slot { words, known };
        i += 1;
    }
    slots
};

/// Where a name stands in [`SLOTS`], if it does. The factor was found by trying.
const fn place([a, b, c]: Words) -> usize {
    let mixed = a ^ b.rotate_left(21) ^ c;
    (mixed.wrapping_mul(0xd9c5_5e86_324b_c161) >> 57) as usize
}

#[inline(always)]
fn look_up([a, b, c]: Words) -> Known {
    let slot = &SLOTS[place([a, b, c])];
    let differ = (slot.words[0] ^ a) | (slot.words[1] ^ b) | (slot.words[2] ^ c);
    if differ == 0 { slot.known } else { Known::Other }
}

/// How many letters and hyphens a line begins with, and which field they name.
#[inline(always)]
pub(super) fn read_name(line: &[u8]) -> (usize, Known) {
    let (word, rest) = split_word(line);
    let (a, marks) = fold(word);
    if let Some(len) = first(marks) {
        return (len, look_up([before(a, marks), 0, 0]));
    }
    let (word, rest) = split_word(rest);
    let (b, marks) = fold(word);
    if let Some(len) = first(marks) {
        return (8 + len, look_up([a, before(b, marks), 0]));
    }
    let (word, rest) = split_word(rest);
    let (c, marks) = fold(word);
    if let Some(len) = first(marks) {
        return (16 + len, look_up([a, b, before(c, marks)]));
    }
    (24 + find(rest, |word| fold(word).1), Known::Other)
}

impl Known {
    /// Which field `name` is, whatever its case.
    pub fn of(name: &[u8]) -> Known {
        let mut line = [0; 24];
        let Some(start) = line.get_mut(..name.len()) else { return Known::Other };
        start.copy_from_slice(name);
        match read_name(&line) {
            (len, known) if len == name.len() => known,
            _ => Known::Other,
        }
    }

    /// The name as the standards write it; empty for [`Known::Other`].
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, text)| text)
    }

    /// Whether RFC 9110 §7.6.1 confines this field to one connection. `Trailer` is not among them: it announces what
    /// a proxy passes on.
    pub fn is_hop_by_hop(self) -> bool {
        use Known::*;
        matches!(self, Connection | KeepAlive | ProxyConnection | Te | TransferEncoding | Upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (known, name) in NAMES {
            assert_eq!(Known::of(name.as_bytes()), *known);
            assert_eq!(Known::of(name.to_ascii_lowercase().as_bytes()), *known);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), *known);
            assert_eq!(known.name(), *name);
        }
    }

    #[test]
    fn what_merely_resembles_a_name_is_another_field() {
        for name in
            ["", "Hos", "Hosts", "Content_Length", "Content-Length ", "Transfer-Encodinf", "X", "Host2", "H\u{e9}st"]
        {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
        for len in [23, 24, 25, 4096] {
            assert_eq!(Known::of(&vec![b'x'; len]), Known::Other);
        }
        for (_, name) in NAMES {
            for at in 0..name.len() {
                for byte in 0..=255 {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = byte;
                    let same = other.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(Known::of(&other).name() == *name, same, "{:?}", String::from_utf8_lossy(&other));
                }
            }
            for longer in [format!("{name}-"), format!("{name}\0"), format!("{name}:"), format!("-{name}")] {
                assert_eq!(Known::of(longer.as_bytes()), Known::Other, "{longer:?}");
            }
        }
        assert_eq!(Known::Other.name(), "");
    }
}
