//! A request, from its head to the end of its answer.
//!
//! `connection` reads heads one after the other. `request` is the life of one: its body is gathered (`body`); its peers
//! are chosen (`choice`) and asked (`attempt`, `upload`) one after the other (`attempts`); what one answers is passed on
//! (`deliver`, `relay`, `tunnel`), or weir answers itself (`answer`); what is told in the end is its `story`. The rest are
//! decisions without IO: what the heads become (`headers`, `forwarded`), what a template says (`variables`), what weir
//! itself answers (`reply`), whom an end blames (`outcome`).

mod answer;
mod attempt;
mod attempts;
mod body;
mod choice;
pub mod connection;
mod deliver;
mod forwarded;
mod headers;
mod outcome;
mod relay;
mod reply;
mod request;
mod scratch;
mod story;
mod tunnel;
mod upload;
mod variables;

pub use scratch::Spare;
