//! How long is the body?

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// As many bytes; 0 when an empty body was announced.
    Length(u64),
    /// In chunks, the last of which is empty.
    Chunked,
    /// All that comes until the connection ends. Answers only.
    UntilClose,
}
