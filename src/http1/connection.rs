//! What do the options of `Connection` ask for?
