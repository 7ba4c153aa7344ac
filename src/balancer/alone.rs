//! What must not share a cache line? A word that every pick writes: beside what picks only read, it would take that away
//! from the other processors, too.

use std::ops::Deref;

/// A value on two cache lines of its own, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Alone<T>(pub T);

impl<T> Deref for Alone<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
