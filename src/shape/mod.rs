//! How much may one client ask for, and to whom does a share of the requests go?
//!
//! | file | question |
//! | --- | --- |
//! | `rate`, `bucket` | how full is a client's bucket when one more request comes? |
//! | `requests` | may this request go on, at once, later, or not at all? (`limit_req`) |
//! | `connections` | how many requests of this client are there already? (`limit_conn`) |
//! | `split` | whose share does this request fall into? (`split`) |
//! | `mirrors` | is it copied, and is there room for one more copy? (`mirror`) |
//! | `key` | what stands for a client in memory? |
//! | `lru` | who is forgotten when there is no room? |
//! | `notices` | is it time for another line in the log? |

mod bucket;
mod connections;
mod key;
mod lru;
mod mirrors;
mod notices;
mod rate;
mod requests;
mod split;

pub use connections::{ConnectionLimit, Connections, Full, Held};
pub use key::KeyId;
pub use mirrors::{Copied, Mirrors};
pub use notices::Notices;
pub use rate::Rate;
pub use requests::{Admission, Buckets, RequestLimit};
pub use split::{Split, WHOLE};

/// How many limits of a kind a location may have.
pub const MAX_LIMITS: usize = 8;
