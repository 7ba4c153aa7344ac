//! Which frames cost more than they carry, and when were there too many of them?
//!
//! Flow control bounds DATA, and the limit of concurrent streams bounds HEADERS. Nothing in the protocol bounds the
//! frames that are cheap to send and that something must be done about: RST_STREAM behind HEADERS (CVE-2023-44487), PING,
//! SETTINGS, PRIORITY, CONTINUATION, DATA without data, WINDOW_UPDATE. Each costs a token here. Tokens come back with
//! time, and with what is sent to the client: who downloads has windows to update.

use std::time::Duration;

use super::frames::{DATA, END_STREAM, HEADERS, Head};
use crate::clock::Timestamp;

/// Tokens at most, and at first: how many such frames may come at once.
const MOST: u64 = 1_000;
/// Tokens that come back each second.
const PER_SECOND: u64 = 200;
/// Bytes sent to the client that bring one back.
const BYTES: u64 = 1_024;

/// Counts what a client sends.
#[derive(Debug)]
pub struct Meter {
    tokens: u64,
    /// Until when time was paid for.
    paid: Timestamp,
    /// Bytes sent that were not paid for.
    sent: u64,
}

impl Meter {
    /// A connection that has just begun.
    pub fn new(now: Timestamp) -> Meter {
        Meter { tokens: MOST, paid: now, sent: 0 }
    }

    /// Takes note of a frame that came. False: there were too many of little use.
    pub fn came(&mut self, frame: &Head, now: Timestamp) -> bool {
        if !costs(frame) {
            return true;
        }
        self.refill(now);
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    /// Takes note of `n` bytes that were sent to the client.
    pub fn went(&mut self, n: usize) {
        self.sent += n as u64;
        self.tokens = MOST.min(self.tokens + self.sent / BYTES);
        self.sent %= BYTES;
    }

    fn refill(&mut self, now: Timestamp) {
        let each = Duration::from_micros(1_000_000 / PER_SECOND);
        let earned = (now.since(self.paid).as_micros() / each.as_micros()) as u64;
        if earned > 0 {
            self.tokens = MOST.min(self.tokens.saturating_add(earned));
            self.paid = now;
        }
    }
}

/// Whether a frame costs a token.
fn costs(frame: &Head) -> bool {
    match frame.kind {
        DATA => frame.length == 0 && !frame.has(END_STREAM),
        HEADERS => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length, type and flags.
    const fn head(length: usize, kind: u8, flags: u8) -> Head {
        Head { length, kind, flags, stream: 1 }
    }

    const PING: Head = head(8, 6, 0);
    const RST_STREAM: Head = head(4, 3, 0);
    const REQUEST: Head = head(20, HEADERS, 5);
    const UPDATE: Head = head(4, 8, 0);

    fn begun() -> Meter {
        Meter::new(Timestamp::ZERO)
    }

    /// Whether so many of a frame are borne at once.
    fn bears(meter: &mut Meter, frame: Head, times: usize) -> bool {
        (0..times).all(|_| meter.came(&frame, Timestamp::ZERO))
    }

    #[test]
    fn what_is_useful_is_free() {
        for frame in [REQUEST, head(1, DATA, 0), head(16_384, DATA, 0), head(0, DATA, END_STREAM)] {
            assert!(bears(&mut begun(), frame, 10_000), "{frame:?}");
        }
    }

    #[test]
    fn what_is_not_may_come_a_thousand_times_at_once() {
        let others = [head(0, 4, 0), head(5, 2, 0), head(0, 9, 0), head(0, DATA, 0), head(3, 0xaa, 0)];
        for frame in [PING, RST_STREAM, UPDATE].into_iter().chain(others) {
            let mut meter = begun();
            assert!(bears(&mut meter, frame, 1_000), "{frame:?}");
            assert!(!bears(&mut meter, frame, 1), "{frame:?}");
        }
    }

    #[test]
    fn a_reset_costs_though_its_request_does_not() {
        let mut meter = begun();
        let mut round = || bears(&mut meter, REQUEST, 1) && bears(&mut meter, RST_STREAM, 1);
        assert!((0..1_000).all(|_| round()));
        assert!(!round());
    }

    #[test]
    fn two_hundred_a_second_are_borne_for_ever() {
        let mut meter = begun();
        for tenth in 0..1_000 {
            let now = Timestamp::ZERO + Duration::from_millis(100 * tenth);
            assert!((0..20).all(|_| meter.came(&PING, now)), "{tenth}");
        }
    }

    #[test]
    fn who_downloads_may_update_windows() {
        let mut meter = begun();
        for _ in 0..10_000 {
            meter.went(16 * 1024);
            assert!(bears(&mut meter, UPDATE, 2));
        }
    }
}
