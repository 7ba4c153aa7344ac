//! The datapath.

pub mod http;
pub mod retry;
