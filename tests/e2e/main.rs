//! Does the binary do what a user was promised? Real processes and sockets, on loopback alone; events, not durations.
#![allow(clippy::disallowed_methods, reason = "these tests wait for other processes, so they live in real time")]
#![allow(missing_docs, reason = "a test binary has no readers but its source's")]

mod access_log;
mod admin;
mod config;
mod containers;
mod datagrams;
mod discovery;
mod drill;
mod fields;
mod harness;
mod health;
mod healthcheck;
mod hedging;
mod http2;
mod limits;
mod malformed;
mod names;
mod outliers;
mod proxy_protocol;
mod proxying;
mod reloads;
mod retries;
mod returns;
mod rotation;
mod routing;
mod shares;
mod signals;
mod sticky;
mod stream_joins;
mod streams;
mod support;
mod takeover;
mod timeouts;
mod tls_to_backends;
mod tls_to_clients;
mod tunnels;
mod unix;
mod warming;
mod websocket;
