//! Which frames cost more than they carry, and when were there too many of them?
//!
//! Flow control bounds DATA, and the limit of concurrent streams bounds HEADERS. Nothing in the protocol bounds the
//! frames that are cheap to send and that something must be done about: RST_STREAM behind HEADERS (CVE-2023-44487), PING,
//! SETTINGS, PRIORITY, CONTINUATION, DATA without data, WINDOW_UPDATE. Each costs a token here. Tokens come back with
//! time, and with what is sent to the client: who downloads has windows to update.

use std::time::Duration;

use crate::clock::Timestamp;

/// Tokens at most, and at first: how many such frames may come at once.
const MOST: u64 = 1_000;
/// Tokens that come back each second.
const PER_SECOND: u64 = 200;
/// Bytes sent to the client that bring one back.
const BYTES: u64 = 1_024;

/// The head of a frame (RFC 9113 §4.1), in bytes.
const FRAME_HEAD: usize = 9;

/// Watches what a client sends, frame by frame, without keeping it.
#[derive(Debug)]
pub struct Meter {
    /// Bytes that belong to the preface, or to the frame whose head was seen last.
    skip: usize,
    head: [u8; FRAME_HEAD],
    have: usize,
    tokens: u64,
    /// Until when time was paid for.
    paid: Timestamp,
    /// Bytes sent that were not paid for.
    sent: u64,
}

impl Meter {
    /// A connection that has just begun.
    pub fn new(now: Timestamp) -> Meter {
        Meter { skip: super::PREFACE.len(), head: [0; FRAME_HEAD], have: 0, tokens: MOST, paid: now, sent: 0 }
    }

    /// Takes note of bytes that came. False: there were too many frames of little use.
    pub fn came(&mut self, mut bytes: &[u8], now: Timestamp) -> bool {
        self.refill(now);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == FRAME_HEAD {
                self.have = 0;
                self.skip =
                    usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
                if costs(self.skip, self.head[3], self.head[4]) {
                    match self.tokens.checked_sub(1) {
                        Some(left) => self.tokens = left,
                        None => return false,
                    }
                }
            }
        }
        true
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

/// Whether a frame of this length, type and flags costs a token.
fn costs(length: usize, kind: u8, flags: u8) -> bool {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;
    match kind {
        DATA => length == 0 && flags & END_STREAM == 0,
        HEADERS => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: (usize, u8, u8) = (8, 6, 0);
    const RST_STREAM: (usize, u8, u8) = (4, 3, 0);
    const HEADERS: (usize, u8, u8) = (20, 1, 5);

    fn frames(all: &[(usize, u8, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(length, kind, flags) in all {
            bytes.extend_from_slice(&[
                (length >> 16) as u8,
                (length >> 8) as u8,
                length as u8,
                kind,
                flags,
                0,
                0,
                0,
                1,
            ]);
            bytes.resize(bytes.len() + length, 0xee);
        }
        bytes
    }

    fn begun() -> Meter {
        let mut meter = Meter::new(Timestamp::ZERO);
        assert!(meter.came(super::super::PREFACE, Timestamp::ZERO));
        meter
    }

    #[test]
    fn what_is_useful_is_free() {
        for frame in [HEADERS, (1, 0, 0), (16_384, 0, 0), (0, 0, 1)] {
            let mut meter = begun();
            assert!((0..10_000).all(|_| meter.came(&frames(&[frame]), Timestamp::ZERO)), "{frame:?}");
        }
    }

    #[test]
    fn what_is_not_may_come_a_thousand_times_at_once() {
        for frame in [PING, RST_STREAM, (0, 4, 0), (5, 2, 0), (0, 9, 0), (0, 0, 0), (4, 8, 0), (3, 0xaa, 0)] {
            let mut meter = begun();
            assert!(meter.came(&frames(&vec![frame; 1_000]), Timestamp::ZERO), "{frame:?}");
            assert!(!meter.came(&frames(&[frame]), Timestamp::ZERO), "{frame:?}");
        }
    }

    #[test]
    fn a_reset_costs_though_its_request_does_not() {
        let mut meter = begun();
        assert!(!meter.came(&frames(&[HEADERS, RST_STREAM].repeat(1_001)), Timestamp::ZERO));
    }

    #[test]
    fn two_hundred_a_second_are_borne_for_ever() {
        let mut meter = begun();
        for tenth in 0..1_000 {
            let now = Timestamp::ZERO + Duration::from_millis(100 * tenth);
            assert!(meter.came(&frames(&[PING; 20]), now), "{tenth}");
        }
    }

    #[test]
    fn who_downloads_may_update_windows() {
        let mut meter = begun();
        for _ in 0..10_000 {
            meter.went(16 * 1024);
            assert!(meter.came(&frames(&[(4, 8, 0), (4, 8, 0)]), Timestamp::ZERO));
        }
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let bytes = frames(&[HEADERS, PING, (300, 0, 0), PING]);
        for size in 1..40 {
            let mut meter = begun();
            assert!(bytes.chunks(size).all(|piece| meter.came(piece, Timestamp::ZERO)));
            assert_eq!(meter.tokens, MOST - 2, "{size}");
        }
    }
}
