//! The datagrams of a `[[stream]]`: who sends some has a session, which has a peer, until nothing more is to be expected.
//!
//! A `port` is the socket of one worker and its sessions. An `inbox` is what port and session share: where the client's
//! datagrams go, and those that may have to be sent again. The life of a session is in `session`.

mod inbox;
mod port;
mod session;

pub use port::Port;
