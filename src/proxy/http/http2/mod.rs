//! HTTP/2 on either side. The frames are the `h2` library's; what is here makes one of its streams a side of an exchange.
//!
//! `preface` tells the two versions apart. `server` accepts the streams of a client's connection; `tap` watches what it
//! sends, which `frames` tells apart, `flood` counts and `rules` checks. `peers` shares connections to peers between
//! requests. `stream` is one request or answer on its way, and `heads` translates heads between fields and text.

mod flood;
mod frames;
mod heads;
mod peers;
mod preface;
mod rules;
pub mod server;
mod stream;
mod tap;

pub use peers::{Begun, Ended, Entry, Link, Peers, Use, Waiting, dial};
pub use preface::{INVALID_PREFACE, PREFACE, is_http1};
pub use stream::Stream;

/// Bytes that one stream may send before they are taken. (The 64 KiB that the protocol begins with are 5 MB a second
/// over a line of 12 ms.)
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of one stream that wait to be written to the connection.
const SEND_BUFFER: usize = 64 * 1024;
