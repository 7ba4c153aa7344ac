//! Where do chunks begin and end?
