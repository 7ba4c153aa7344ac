//! What do these bytes say? HTTP/1.1 messages as bytes: heads, framing, chunks, and back. Sans-IO.
//!
//! Bytes in, values out: nothing here waits, reads a socket or knows a clock. A connection keeps one [`RequestHead`] or
//! [`ResponseHead`] and one [`BodyDecoder`] for its whole life; they keep their memory, so that in steady state no
//! message costs an allocation.
//!
//! Strict by intention, since a proxy that guesses is how requests are smuggled: what two readers could understand
//! differently is refused, not repaired. Beyond the MUSTs of RFC 9112 that means: lines end in CRLF (never in a bare
//! LF, which §2.2 lets a recipient accept), one `Host`, one `Content-Length`, one `Transfer-Encoding` that says exactly
//! `chunked`, and only visible ASCII in the request target.

mod body;
mod chunked;
mod connection;
pub mod encode;
mod field;
mod form;
mod framing;
mod host;
mod known;
mod method;
#[cfg(test)]
mod properties;
mod reject;
mod request;
mod response;
mod scan;
pub mod target;
mod trailer;
mod version;
mod word;

pub use body::{BodyDecoder, BodyError, Decoded, Event};
pub use field::{Field, FieldSection};
pub use form::Form;
pub use framing::Framing;
pub use host::split_port;
pub use known::Known;
pub use method::Method;
pub use reject::{Reason, Reject};
pub use request::RequestHead;
pub use response::ResponseHead;
pub use version::Version;

/// What a head may cost. Exceeding `target` is 414, the others 431 (for an answer: 502).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head, from the first line to the empty line that ends it. More than 2 GiB are never accepted.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Number of field lines; more than [`Limits::MAX_FIELDS`] are never accepted.
    pub fields: usize,
}

impl Limits {
    /// The most field lines a head can have, whatever `fields` says.
    pub const MAX_FIELDS: usize = 256;
}

impl Default for Limits {
    /// nginx's `large_client_header_buffers 4 8k`: a head of 32 KiB, a target of 8 KiB; and 100 field lines.
    fn default() -> Limits {
        Limits { head: 32 * 1024, target: 8 * 1024, fields: 100 }
    }
}

/// How far the parse of a head came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head does not end within these bytes. Call again with the same bytes and more behind them.
    Partial,
    /// The head is there, and owns a copy: the first `consumed` bytes of the input are done with.
    Complete {
        /// Bytes of the input that belonged to the head, empty lines before it included.
        consumed: usize,
    },
}
