//! Which of the fields that a proxy has to know is this?

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

// Ordered by length: a name is compared only with those as long as it is.
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

const LONGEST: usize = NAMES[NAMES.len() - 1].1.len();

/// `BY_LENGTH[n]..BY_LENGTH[n + 1]` are the names of n bytes.
const BY_LENGTH: [usize; LONGEST + 2] = {
    let mut starts = [0; LONGEST + 2];
    let mut i = 0;
    while i < NAMES.len() {
        assert!(i == 0 || NAMES[i - 1].1.len() <= NAMES[i].1.len(), "the list is ordered by length");
        let mut longer = NAMES[i].1.len() + 1;
        while longer < starts.len() {
            starts[longer] = i + 1;
            longer += 1;
        }
        i += 1;
    }
    starts
};

/// Whether two names of one length are the same but for their case, several bytes at a time. The known names have
/// letters and hyphens alone, and of the bytes that a name may have (RFC 9110 §5.6.2) only the other case of a letter
/// becomes that letter, and only a hyphen a hyphen, when bit 0x20 is set.
fn is_same(known: &[u8], name: &[u8]) -> bool {
    fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
        let mut word = [0; 8];
        word[..N].copy_from_slice(bytes.get(at..at + N)?);
        Some(u64::from_le_bytes(word) | 0x2020_2020_2020_2020)
    }
    fn same<const N: usize>(known: &[u8], name: &[u8]) -> bool {
        // The last word overlaps the one before it.
        let last = known.len() - N;
        (0..last).step_by(N).chain([last]).all(|at| word::<N>(known, at) == word::<N>(name, at))
    }
    match known.len() {
        8.. => same::<8>(known, name),
        4.. => same::<4>(known, name),
        _ => same::<1>(known, name),
    }
}

impl Known {
    /// Which field `name` is, whatever its case.
    pub fn of(name: &[u8]) -> Known {
        if name.is_empty() || name.len() > LONGEST {
            return Known::Other;
        }
        NAMES[BY_LENGTH[name.len()]..BY_LENGTH[name.len() + 1]]
            .iter()
            .find(|(_, text)| is_same(text.as_bytes(), name))
            .map_or(Known::Other, |(known, _)| *known)
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
        for name in ["", "Hos", "Hosts", "Content_Length", "Content-Length ", "Transfer-Encodinf", "X"] {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
        assert_eq!(Known::of(&[b'x'; 4096]), Known::Other);
        assert_eq!(Known::Other.name(), "");
    }
}
