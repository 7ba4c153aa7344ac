//! The datapath: workers, and what they do with a request.

pub mod http;
pub mod retry;
pub mod worker;
