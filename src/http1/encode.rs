//! How is a message written?
//!
//! Everything appends to a buffer of the caller's and allocates nothing else. What is written is trusted: values that
//! came with an accepted head are safe, others must be checked with [`is_name`] and [`is_value`] when they are made.

use super::{FieldSection, Version};

/// What ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// `GET /path HTTP/1.1`: always the version that is spoken here, 1.1.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    let _ = (out, method, target);
    todo!()
}

/// `HTTP/1.1 200 OK`. The status must have three digits.
pub fn status_line(out: &mut Vec<u8>, version: Version, status: u16, reason: &[u8]) {
    let _ = (out, version, status, reason);
    todo!()
}

/// `Name: value`.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let _ = (out, name, value);
    todo!()
}

/// `Content-Length: n`.
pub fn content_length(out: &mut Vec<u8>, n: u64) {
    let _ = (out, n);
    todo!()
}

/// The empty line that ends a head.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data; nothing for 0, which would be the last chunk. [`CHUNK_END`] follows the data.
pub fn chunk_header(out: &mut Vec<u8>, len: u64) {
    let _ = (out, len);
    todo!()
}

/// A whole chunk; nothing for empty data.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    let _ = (out, data);
    todo!()
}

/// The last chunk and the trailers: the end of a chunked body.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &FieldSection) {
    let _ = (out, trailers);
    todo!()
}

/// A number in decimal digits.
pub fn decimal(out: &mut Vec<u8>, n: u64) {
    let _ = (out, n);
    todo!()
}

/// A number in lower-case hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, n: u64) {
    let _ = (out, n);
    todo!()
}

/// The usual text of a status; empty for one that has none.
pub fn reason_phrase(status: u16) -> &'static str {
    todo!("{status}")
}

/// Whether this can be a field name (a token, RFC 9110 §5.6.2).
pub fn is_name(name: &[u8]) -> bool {
    todo!("{name:?}")
}

/// Whether this can be a field value: no control characters but the tab.
pub fn is_value(value: &[u8]) -> bool {
    todo!("{value:?}")
}
