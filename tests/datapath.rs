//! Does the datapath survive what clients and backends do to it? The real binary, plain sockets, byte for byte.
#![allow(clippy::disallowed_methods, reason = "these tests wait for other processes, so they live in real time")]
#![allow(missing_docs, reason = "a test binary has no readers but its source's")]

#[path = "datapath/drain.rs"]
mod drain;
#[path = "datapath/early.rs"]
mod early;
#[path = "datapath/leases.rs"]
mod leases;
#[path = "datapath/noise.rs"]
mod noise;
#[path = "datapath/repeats.rs"]
mod repeats;
#[path = "datapath/rig.rs"]
mod rig;
#[path = "datapath/tunnels.rs"]
mod tunnels;
