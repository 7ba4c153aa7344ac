//! What happened? Events and their readers.

pub mod access_log;
mod calendar;
pub mod event;
mod json;
mod line;
pub mod logging;
mod session;
pub mod transition;

pub use access_log::{AccessLog, WorkerLog};
pub use calendar::utc;
pub use event::{Answer, Attempt, Failure, Limited, NoVariables, RequestDone, Sticky, Variables, Why};
pub use session::{SessionDone, SessionEnd};
