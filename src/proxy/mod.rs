//! The datapath: workers, and what they do with a request, or with what they pass on as it is.

mod complaints;
pub mod conversation;
pub mod datagram;
pub mod dial;
mod handshake;
pub mod http;
mod introduction;
pub mod retry;
pub mod stream;
pub mod worker;
