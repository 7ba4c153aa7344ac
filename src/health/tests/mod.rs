//! The table of `docs/health.md`, row by row.
