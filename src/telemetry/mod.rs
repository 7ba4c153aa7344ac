//! What happened? Events and their readers.

pub mod access_log;
mod calendar;
pub mod event;
mod json;
mod line;
pub mod logging;
pub mod transition;

pub use access_log::{AccessLog, WorkerLog};
pub use event::{Answer, Attempt, Failure, NoVariables, RequestDone, Variables, Why};
