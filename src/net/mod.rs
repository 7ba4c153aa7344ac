//! Bytes, not balancing: listeners, connections, pools, names.
