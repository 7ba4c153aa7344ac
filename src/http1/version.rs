//! Which version of HTTP is spoken?

use super::Reason;

/// The versions that a message can have come by. On a connection of HTTP/1 a minor version above 1 is treated as 1.1
/// (RFC 9112 §2.3); a head of HTTP/2 is composed, never parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As nginx names it in `$server_protocol`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }

    /// Reads `HTTP/d.d`.
    pub(super) fn read(text: &[u8]) -> Result<Version, Reason> {
        const HTTP11: u64 = u64::from_le_bytes(*b"HTTP/1.1");
        const HTTP10: u64 = u64::from_le_bytes(*b"HTTP/1.0");
        let Ok(word) = text.try_into().map(u64::from_le_bytes) else { return Err(Reason::Version) };
        match word {
            HTTP11 => Ok(Version::Http11),
            HTTP10 => Ok(Version::Http10),
            _ => Version::read_rare(text),
        }
    }

    #[cold]
    fn read_rare(text: &[u8]) -> Result<Version, Reason> {
        match text {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Reason::VersionUnsupported),
            _ => Err(Reason::Version),
        }
    }
}
