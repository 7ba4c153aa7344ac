//! Is this request copied, and is there room for one more copy?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::{Notices, Split};

/// The copies of the requests of one location, for all workers together.
#[derive(Debug)]
pub struct Mirrors {
    share: Split,
    max: usize,
    in_flight: AtomicUsize,
    dropped: AtomicU64,
    /// What is told of copies that were not made.
    pub notices: Notices,
}

/// A copy under way. It ends with this.
#[derive(Debug)]
pub struct Copied(Arc<Mirrors>);

impl Mirrors {
    /// `share` of the requests, in hundredths of a percent, is copied; `max` copies may be under way at once.
    pub fn new(share: u32, max: usize) -> Mirrors {
        Mirrors {
            share: Split::new([share]),
            max,
            in_flight: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            notices: Notices::default(),
        }
    }

    /// Whether it is this request's turn to be copied.
    pub fn is_due(&self) -> bool {
        self.share.by_turn().is_some()
    }

    /// Room for a copy, if there is any.
    pub fn enter(self: &Arc<Self>) -> Option<Copied> {
        if self.in_flight.fetch_add(1, Relaxed) < self.max {
            return Some(Copied(Arc::clone(self)));
        }
        self.in_flight.fetch_sub(1, Relaxed);
        None
    }

    /// A copy that was due was not made.
    pub fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// How many copies that were due were not made.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mirrors = Arc::new(Mirrors::new(10_000, 2));
        let held: Vec<_> = (0..2).map(|_| mirrors.enter().unwrap()).collect();
        assert!(mirrors.enter().is_none() && mirrors.enter().is_none());
        drop(held);
        assert!(mirrors.enter().is_some());
    }

    #[test]
    fn a_share_is_copied() {
        let mirrors = Mirrors::new(1_000, 1);
        let copied = (0..200).filter(|_| mirrors.is_due()).count();
        assert!((19..=21).contains(&copied), "{copied}");
    }
}
