//! How much can one peer do?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use super::FULL;

/// What a request means to a peer, and whether it takes any.
#[derive(Debug)]
pub(super) struct Capacity {
    /// What a request counts here.
    pub unit: u32,
    /// 0: unlimited.
    max_conns: u32,
    /// In 1/1024, as of when somebody last looked.
    ramp: AtomicU32,
    present: AtomicBool,
}

/// More than any load.
pub(super) const OUT: u32 = u32::MAX;

impl Capacity {
    /// Of a peer that is there and has all its weight.
    pub(super) fn new(unit: u32, max_conns: u32) -> Capacity {
        Capacity { unit, max_conns, ramp: AtomicU32::new(FULL), present: AtomicBool::new(true) }
    }

    pub(super) fn set_present(&self, present: bool) {
        self.present.store(present, SeqCst);
    }

    pub(super) fn set_ramp(&self, ramp: u32) {
        if self.ramp.load(Relaxed) != ramp {
            self.ramp.store(ramp, SeqCst);
        }
    }

    /// What it would have to do with one more request.
    pub(super) fn load(&self, in_flight: u32) -> u32 {
        let load = (u64::from(in_flight) + 1) * u64::from(self.unit);
        let ramp = self.ramp.load(Relaxed);
        let load = if ramp >= FULL { load } else { load.saturating_mul(u64::from(FULL)) / u64::from(ramp.max(1)) };
        u32::try_from(load).unwrap_or(OUT).min(OUT - 1)
    }

    /// The same, or [`OUT`].
    pub(super) fn load_or_out(&self, in_flight: u32) -> u32 {
        let full = self.max_conns > 0 && in_flight >= self.max_conns;
        if full || !self.present.load(SeqCst) { OUT } else { self.load(in_flight) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_more_where_less_of_the_weight_is_there() {
        let table =
            [(3, FULL, 0, 3), (3, FULL, 4, 15), (3, FULL / 4, 1, 24), (3, 0, 0, 3 * FULL), (u32::MAX, 1, 9, OUT - 1)];
        for (unit, ramp, in_flight, due) in table {
            let capacity = Capacity::new(unit, 0);
            capacity.set_ramp(ramp);
            assert_eq!(capacity.load(in_flight), due, "{unit} {ramp} {in_flight}");
        }
    }

    #[test]
    fn who_is_full_or_absent_takes_none() {
        let capacity = Capacity::new(1, 2);
        assert_eq!([0, 1, 2, 3].map(|in_flight| capacity.load_or_out(in_flight)), [1, 2, OUT, OUT]);
        capacity.set_present(false);
        assert_eq!(capacity.load_or_out(0), OUT);
    }
}
