//! Does the machine do what the table of `docs/health.md` says? Each of its rows is a test, named as the claim.
//!
//! A test is a script of what happens to a group, in the notation of [`script`], and what must hold afterwards.

mod operator_rows;
mod probe_rows;
mod properties;
mod ramp_rows;
mod reload_rows;
mod script;
mod threads;
mod traffic_rows;
