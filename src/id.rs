//! How groups and peers are told apart, across snapshots.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

/// A group (an `[upstream.NAME]`) for as long as the process keeps it, whatever is reloaded around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

/// A peer (one address of one `server`) for as long as the process keeps it. Never reused: a request that tried a
/// peer recognises it in every later snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u32);

impl GroupId {
    /// No group's: what a location has that answers by itself.
    pub const NONE: GroupId = GroupId(0);

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

impl PeerId {
    /// The number in it: what the admin API calls the peer's `id`.
    pub fn number(self) -> u64 {
        self.0.into()
    }
}

/// Hashes ids: they are small numbers of our own making, so nobody can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

/// For maps keyed by ids.
pub type BuildIdHasher = BuildHasherDefault<IdHasher>;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Spreads neighbours over the high bits, which the map looks at, too (Fibonacci hashing).
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
