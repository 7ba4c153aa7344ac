//! HTTP/2 on either side. The frames are the `h2` library's; what is here makes one of its streams a side of an exchange.
//!
//! `server` accepts the streams of a client's connection, `flood` bounds what its frames may cost. `peers` shares
//! connections to peers between requests. `stream` is one request or answer on its way, and `heads` translates heads
//! between fields and text.

mod flood;
mod heads;
mod peers;
pub mod server;
mod stream;
mod tap;

pub use peers::{Begun, Ended, Entry, Link, Peers, Use, Waiting, dial};
pub use stream::Stream;

/// How every connection of HTTP/2 begins (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that one stream may send before they are taken. (The 64 KiB that the protocol begins with are 5 MB a second
/// over a line of 12 ms.)
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of one stream that wait to be written to the connection.
const SEND_BUFFER: usize = 64 * 1024;
