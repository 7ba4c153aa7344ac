//! How much of its weight does a peer count? The unit in which `health` says it and `balancer` reads it.

/// All of it: the share, in 1/1024, of a peer that does not ramp up (`slow_start`).
pub const FULL: u32 = 1024;
