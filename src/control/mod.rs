//! What changes while it runs: names, probes, the file. One writer of the snapshot, and whoever asks it to write.

pub mod announce;
pub mod discovery;
pub mod operator;
pub mod outliers;
mod parting;
pub mod plan;
pub mod prober;
pub mod publisher;
pub mod ramps;
pub mod reload;
pub mod remember;
pub mod replicas;
pub mod secrets;
pub mod service;
pub mod sources;
pub mod takeover;
pub mod waits;

pub use announce::Announcer;
pub use publisher::{Publisher, Request};
