//! How much of its weight does a peer get? All of it, or less while it ramps up (`slow_start`), in 1/1024.

/// The share of a peer that does not ramp.
pub const FULL: u32 = 1024;
