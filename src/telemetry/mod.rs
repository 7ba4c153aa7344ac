//! What happened? Events and their readers.

pub mod event;

pub use event::{Answer, Attempt, Failure, NoVariables, RequestDone, Variables, Why};
