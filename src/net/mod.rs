//! Bytes, not balancing: listeners, connections, pools, names.

pub mod resolver;
