//! What did the user ask for? `upstream.toml` → written (with spans) → [`Config`], or every mistake at once.

pub mod model;
pub mod template;

pub use model::Config;
