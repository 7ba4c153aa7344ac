//! How groups and peers are told apart, across snapshots.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A group (an `[upstream.NAME]`) for as long as the process keeps it, whatever is reloaded around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

/// A peer (one address of one `server`) for as long as the process keeps it. Never reused: a request that tried a
/// peer recognises it in every later snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u32);

impl GroupId {
    /// An id no other group of this process has.
    pub fn fresh() -> GroupId {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        GroupId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl PeerId {
    /// An id no other peer of this process has.
    pub fn fresh() -> PeerId {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        PeerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
