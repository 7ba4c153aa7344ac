//! Bytes, not balancing: listeners, connections, pools, names.

pub mod buffer;
pub mod deadline;
pub mod listener;
pub mod pool;
pub mod resolver;
pub mod stream;

pub use buffer::Buffer;
pub use deadline::Deadline;
pub use pool::{Limits, Pools, Reuse};
pub use stream::Stream;
