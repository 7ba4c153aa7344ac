//! Bytes, not balancing: listeners, connections, pools, names.

pub mod budget;
pub mod buffer;
pub mod datagrams;
pub mod deadline;
pub mod descriptors;
pub mod folder_lock;
pub mod handshake;
pub mod held;
pub mod inherited;
pub mod listener;
pub mod pool;
pub mod proxy_header;
pub mod resolver;
mod socket;
pub mod socket_file;
pub mod splice;
pub mod stream;
pub mod tls;
pub mod watch;

pub use buffer::Buffer;
pub use deadline::Deadline;
pub use held::Held;
pub use inherited::Inherited;
pub use listener::{Accepted, Listener};
pub use pool::{Limits, Pooled, Pools, Reuse};
pub use socket::Socket;
pub use stream::{ParkedStream, Stream};
pub use watch::Watch;
