//! Which method is this, and may it be repeated?

/// The methods a proxy treats differently. Names are case-sensitive: `get` is `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method of that name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Connect,
    Trace,
    Patch,
    #[default]
    Other,
}

impl Method {
    /// The longest name that is accepted; the longest registered one has 17 bytes.
    pub(super) const LONGEST: usize = 32;

    /// Which method `name` is.
    pub fn of(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"CONNECT" => Method::Connect,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Whether a request may be sent twice: GET, HEAD, OPTIONS, PUT, DELETE, TRACE (RFC 9110 §9.2.2). Unknown methods
    /// are taken to be non-idempotent, unlike in nginx.
    pub fn is_idempotent(self) -> bool {
        use Method::*;
        matches!(self, Get | Head | Options | Put | Delete | Trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_standard_idempotent_methods_may_be_repeated() {
        let idempotent = |name: &&str| Method::of(name.as_bytes()).is_idempotent();
        assert!(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].iter().all(idempotent));
        assert!(!["POST", "PATCH", "CONNECT", "LOCK", "get", "GETS", ""].iter().any(idempotent));
    }
}
