//! A connection of a `[[stream]]`, from its first byte to its last, as it is.
//!
//! `session` is the life of one: what the client must say first is its `entry`, who is asked is its `course`; what goes both ways then is a `Conversation`.
//! What is told in the end is its `story`. Course and story are those of datagrams as well.

mod course;
mod entry;
mod session;
mod story;

pub use course::{Course, Turn};
pub use session::serve;
pub use story::Story;
