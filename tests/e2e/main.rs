//! Does the binary do what a user was promised? Real processes and sockets, on loopback alone; events, not durations.
#![allow(clippy::disallowed_methods, reason = "these tests wait for other processes, so they live in real time")]
#![allow(missing_docs, reason = "a test binary has no readers but its source's")]

mod access_log;
mod config;
mod drill;
mod fields;
mod harness;
mod health;
mod malformed;
mod names;
mod proxying;
mod retries;
mod rotation;
mod routing;
mod signals;
mod support;
mod timeouts;
