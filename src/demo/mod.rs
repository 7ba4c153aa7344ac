//! The embedded applications of `weir demo`.
