//! How does a backend wait for the test? At a gate, which the test opens.

use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// A door that is shut until someone opens it, for all and for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Passes when the gate is open, or after [`PATIENCE`], so that a failed test leaves no thread behind.
    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let _ = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap();
    }
}
