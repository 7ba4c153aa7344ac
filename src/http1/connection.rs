//! What do the options of `Connection` ask for?

use super::field::{FieldSection, Span};
use super::word::{equal, find};
use super::{Known, Reason, Version};

/// What both sides of a connection say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Options that are compared with every field of the head; bounds the work an absurd `Connection` can cause.
const MOST: usize = 64;

impl Options {
    /// Reads all `Connection` fields, and marks the fields they name.
    #[inline]
    pub(super) fn read(fields: &mut FieldSection) -> Result<Options, Reason> {
        if fields.has(Known::Connection) { Options::read_all(fields) } else { Ok(Options::default()) }
    }

    fn read_all(fields: &mut FieldSection) -> Result<Options, Reason> {
        let mut options = Options::default();
        let mut seen = 0;
        for i in 0..fields.len() {
            let Some(value) = fields.span_if(i, Known::Connection) else { continue };
            let (mut at, end) = (value.start, value.end);
            while at < end {
                let rest = fields.text(Span { start: at, end });
                let len = find(rest, |word| equal(word, b',')) as u32;
                let part = Span { start: at, end: at + len };
                at = part.end + 1;
                let option = fields.text(part).trim_ascii();
                match option.len() {
                    0 => continue,
                    5 if option.eq_ignore_ascii_case(b"close") => options.close = true,
                    7 if option.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                    10 if option.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                    _ => fields.mark_named(part),
                }
                seen += 1;
                if seen > MOST {
                    return Err(Reason::TooManyConnectionOptions);
                }
            }
        }
        Ok(options)
    }

    /// Whether the connection persists after this message (RFC 9112 §9.3).
    pub(super) fn persistent(self, version: Version) -> bool {
        !self.close && (version >= Version::Http11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> (Options, Vec<String>) {
        let mut fields = FieldSection::default();
        fields.bytes.extend_from_slice(format!("{lines}\r\n").as_bytes());
        fields.index(0, 100).unwrap();
        let options = Options::read(&mut fields).unwrap();
        let hop = fields.iter().filter(|field| field.is_hop_by_hop());
        (options, hop.map(|field| String::from_utf8_lossy(field.name).into_owned()).collect())
    }

    #[test]
    fn options_are_read_from_every_field_in_any_case() {
        let (options, _) = read("Connection: Keep-Alive ,, X\r\nFoo: 1\r\nconnection:\tUPGRADE\r\n");
        assert_eq!(options, Options { close: false, keep_alive: true, upgrade: true });
        assert_eq!(read("Connection: closed, enclose\r\n").0, Options::default());
        assert!(read("Connection: foo,close\r\n").0.close);
        assert!(!read("Connection: foo\u{ac}close\r\n").0.close);
    }

    #[test]
    fn close_beats_keep_alive_and_only_1_1_persists_by_itself() {
        let persistent = |lines: &str, version| read(lines).0.persistent(version);
        assert!(persistent("", Version::Http11));
        assert!(!persistent("", Version::Http10));
        assert!(persistent("Connection: keep-alive\r\n", Version::Http10));
        assert!(!persistent("Connection: keep-alive, close\r\n", Version::Http10));
        assert!(!persistent("Connection: keep-alive\r\nConnection: close\r\n", Version::Http11));
    }

    #[test]
    fn what_connection_names_is_hop_by_hop() {
        let (_, hop) = read("X-A: 1\r\nCookie: c\r\nConnection: x-a, cookie\r\nX-B: 2\r\nx-a: 3\r\n");
        assert_eq!(hop, ["X-A", "Cookie", "Connection", "x-a"]);
        let (_, hop) = read("Keep-Alive: 1\r\nTE: a\r\nUpgrade: b\r\nProxy-Connection: c\r\nTrailer: d\r\n");
        assert_eq!(hop, ["Keep-Alive", "TE", "Upgrade", "Proxy-Connection"]);
    }

    #[test]
    fn connection_has_no_say_about_host_and_length() {
        let (_, hop) = read("Host: a\r\nContent-Length: 1\r\nConnection: host, content-length\r\n");
        assert_eq!(hop, ["Connection"]);
    }

    #[test]
    fn a_flood_of_options_is_refused() {
        let mut fields = FieldSection::default();
        fields.bytes.extend_from_slice(format!("Connection: {}\r\n\r\n", "a,".repeat(65)).as_bytes());
        fields.index(0, 100).unwrap();
        assert_eq!(Options::read(&mut fields), Err(Reason::TooManyConnectionOptions));
    }
}
