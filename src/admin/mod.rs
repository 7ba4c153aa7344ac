//! Eyes and levers, on a listener of their own.
