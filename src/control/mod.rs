//! What changes while it runs.
