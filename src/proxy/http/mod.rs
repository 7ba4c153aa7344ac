//! A request, from its head to the end of its answer.
//!
//! `connection` reads heads one after the other; `request` tells the story of one; `attempt` is one try at one peer;
//! `relay` streams the answer. The rest are decisions without IO: what the heads become (`headers`, `forwarded`),
//! what a template says (`variables`), what weir itself answers (`reply`), whom an end blames (`outcome`).

mod attempt;
mod body;
pub mod connection;
mod forwarded;
mod headers;
mod outcome;
mod relay;
mod reply;
mod request;
mod scratch;
mod upload;
mod variables;

pub use scratch::Spare;
