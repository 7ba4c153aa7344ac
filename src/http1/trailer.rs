//! What may come after the last chunk?
