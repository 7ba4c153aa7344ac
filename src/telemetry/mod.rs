//! What happened? Events and their readers.
