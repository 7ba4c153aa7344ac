//! How does a client find its way back to the peer that served it?
//!
//! | file | question |
//! | --- | --- |
//! | `key` | what can only this weir, and those that share its secret, say of a peer? |
//! | `ticket` | what is in the cookie? |
//! | `sessions` | which peer was it that made this session? |
//!
//! Nothing here reads a clock, draws randomness or knows a request.

mod key;
mod sessions;
mod ticket;

pub use key::{Key, Secret, Tag};
pub use sessions::{SessionId, Sessions};
pub use ticket::Ticket;
