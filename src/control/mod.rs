//! What changes while it runs: names, probes, the file. One writer of the snapshot, and whoever asks it to write.

pub mod announce;
pub mod discovery;
pub mod prober;
pub mod publisher;
pub mod reload;

pub use announce::Announcer;
pub use publisher::{Publisher, Request};
