//! What does an end-to-end test stand on? The real binary, backends that misbehave on command, a client that sees bytes.

pub mod api;
pub mod backend;
pub mod client;
pub mod dns;
pub mod gate;
pub mod raw;
pub mod site;
pub mod tls;
pub mod weir;

pub use backend::{Backend, Script};
pub use client::{Client, Response, get};
pub use gate::Gate;
pub use site::Site;
pub use tls::Authority;
pub use weir::Weir;

use std::path::Path;
use std::time::{Duration, Instant};

/// How long an event may take that must come. Generous: it is reached only by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client is silent until its connection is parked (`proxy/worker/parking.rs`), with some to spare.
pub const PARKED: Duration = Duration::from_millis(4_500);

/// Asks `holds` every few milliseconds until it is true; panics with `claim` after [`PATIENCE`].
pub fn eventually(claim: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {claim}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether somebody listens on a unix socket. Nobody is asked: its file is there a moment before, and whoever connects is a
/// client.
pub fn listens(path: &Path) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    // Flags: `__SO_ACCEPTCON` (include/linux/net.h).
    let is_listening = |line: &str| line.split_whitespace().nth(3) == Some("00010000");
    let name = path.to_str().unwrap();
    path.exists() && sockets.lines().any(|line| is_listening(line) && line.ends_with(name))
}

/// Waits until a number has stood still for `pause`, and returns it.
pub fn settled(pause: Duration, mut number: impl FnMut() -> u64) -> u64 {
    let begun = Instant::now();
    let (mut last, mut since) = (number(), Instant::now());
    while since.elapsed() < pause {
        assert!(begun.elapsed() < PATIENCE, "still moving after {PATIENCE:?}, at {last}");
        std::thread::sleep(Duration::from_millis(10));
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// The letters of a rotation in order: who answered how often, whoever began.
pub fn sorted(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}
