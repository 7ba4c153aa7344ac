//! The datapath.

pub mod http;
