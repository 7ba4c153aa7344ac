//! The embedded applications of `weir demo`.

pub mod backend;
pub mod certificate;
