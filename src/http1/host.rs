//! Is this a host, and where does its port begin?

/// Splits `host:port` into the host (brackets of an IPv6 literal kept) and the port's digits, if there are any.
/// Expects what a head was accepted with; of anything else it makes the best.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr2(b':', b']', authority) {
        Some(at) if authority[at] == b':' => {
            let port = &authority[at + 1..];
            (&authority[..at], (!port.is_empty()).then_some(port))
        }
        _ => (authority, None),
    }
}
