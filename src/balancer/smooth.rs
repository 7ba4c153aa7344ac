//! Whose turn is it among some of the peers? One step of smooth weighted round robin over whoever is asked.
//! (nginx: the loop of `ngx_http_upstream_get_peer`.)

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::FULL;

/// The current weights. Every update is one atomic addition, so their sum is kept whatever is concurrent; two
/// simultaneous steps may choose the same peer, and the following ones make up for it.
#[derive(Debug)]
pub(super) struct Smooth {
    current: Box<[AtomicI64]>,
}

impl Smooth {
    pub(super) fn new(count: usize) -> Smooth {
        Smooth { current: (0..count).map(|_| AtomicI64::new(0)).collect() }
    }

    /// One step over `(peer, weight)`, the weights as [`scaled`]. `None` if there are none.
    pub(super) fn step(&self, peers: impl Iterator<Item = (usize, u64)>) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (peer, weight) in peers {
            let weight = weight as i64;
            let current = self.current[peer].fetch_add(weight, Relaxed) + weight;
            total += weight;
            if best.is_none_or(|(_, highest)| current > highest) {
                best = Some((peer, current));
            }
        }
        let (peer, _) = best?;
        self.current[peer].fetch_sub(total, Relaxed);
        Some(peer)
    }
}

/// What a peer's weight counts while it ramps up, in 1/1024 and never nothing. Below 2^42, so that 2^20 peers fit an `i64`.
pub(super) fn scaled(weight: u32, ramp: u32) -> u64 {
    (u64::from(weight.max(1)) * u64::from(ramp.min(FULL))).max(1)
}
