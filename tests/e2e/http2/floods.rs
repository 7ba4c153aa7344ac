//! Are floods contained: the connection ended, memory bounded, others served?

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, Wire, fields, frame, get,
};
use super::rig::h2c;
use crate::support::{Backend, Gate, Script, Site, Weir};

/// ENHANCE_YOUR_CALM.
const CALM: u32 = 11;

/// Sends `flood(0)`, `flood(1)`, … until the other side has had enough, and says how it put that. The client reads
/// nothing meanwhile.
fn drown(weir: &Weir, rounds: u32, flood: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut wire = Wire::connect(weir.address());
    for round in 0..rounds {
        if !wire.try_send(&flood(round)) {
            break;
        }
    }
    wire.goaway()
}

fn contained(name: &str, flood: impl Fn(u32) -> Vec<u8>) {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("workers = 1"));
    let said = drown(&weir, 20_000, flood);
    // The word is lost where the kernel resets a connection on which more was sent.
    assert!(matches!(said, Some(CALM) | None), "{name}: {said:?}");
    // On the same worker, at once.
    assert_eq!(weir.get("/").text(), "a", "{name}");
    assert!(weir.peak_memory() < 64 << 20, "{name}: {} bytes", weir.peak_memory());
}

#[test]
fn rapid_reset() {
    let gate = Gate::default();
    let a = Backend::start("a");
    a.on("/held", Script::new().gate(&gate).answer(200, "", "held"));
    let weir = h2c(&Site::of([&a]).top("workers = 1"));
    let block = fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/held"), (":authority", "a")]);
    let said = drown(&weir, 20_000, |round| {
        let stream = 2 * round + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, &block), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    assert!(matches!(said, Some(CALM) | None), "{said:?}");
    gate.open();
    assert_eq!(weir.get("/").text(), "a");
    assert!(a.requests().len() < 2_500, "{} reached the application", a.requests().len());
    assert!(weir.peak_memory() < 64 << 20, "{} bytes", weir.peak_memory());
}

#[test]
fn ping() {
    contained("PING", |_| frame(PING, 0, 0, &[7; 8]).repeat(10));
}

#[test]
fn settings() {
    contained("SETTINGS", |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(10));
}

#[test]
fn empty_data() {
    contained("DATA", |round| match round {
        0 => frame(HEADERS, END_HEADERS, 1, &get(&[])),
        _ => frame(DATA, 0, 1, b"").repeat(10),
    });
}

#[test]
fn continuation() {
    contained("CONTINUATION", |round| match round {
        0 => frame(HEADERS, END_STREAM, 1, &get(&[])),
        _ => frame(CONTINUATION, 0, 1, &fields(&[("x-a", &"x".repeat(100))])),
    });
}

#[test]
fn unknown_frames() {
    contained("0xaa", |_| frame(0xaa, 0, 0, b"x").repeat(10));
}

/// One entry of 4 KB in the dynamic table, named 10,000 times by one byte each.
#[test]
fn a_header_bomb() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("workers = 1"));
    let mut wire = Wire::connect(weir.address());
    let mut block = get(&[]);
    // Literal with incremental indexing, a value of 3,900 bytes.
    block.extend_from_slice(b"\x40\x03x-b\x7f");
    let mut rest = 3_900 - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    block.push(rest as u8);
    block.resize(block.len() + 3_900, b'x');
    block.resize(block.len() + 10_000, 0x80 | 62);
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    let mut refused = false;
    while let Some(seen) = wire.next() {
        if matches!(seen.kind, HEADERS | RST_STREAM | super::frames::GOAWAY) {
            refused = true;
            break;
        }
    }
    assert!(refused);
    assert_eq!(a.requests().len(), 0);
    assert_eq!(weir.get("/").text(), "a");
    assert!(weir.peak_memory() < 64 << 20, "{} bytes", weir.peak_memory());
}
