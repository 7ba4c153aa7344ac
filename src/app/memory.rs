//! What does weir know from the process before it? The state file, and what seals sticky cookies.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::control::takeover::Successor;
use crate::control::{Publisher, secrets};
use crate::state::StateFile;

/// What is remembered from one process to the next.
pub struct Memory {
    /// What `sticky` goes by where the configuration says none.
    pub secret: Arc<[u8]>,
    /// None where the configuration names none, and while it is a predecessor's.
    state: Option<StateFile>,
}

impl Memory {
    /// What the predecessor says, else what the state file does; else a new secret.
    pub fn recall(config: &Config, successor: Option<&Successor>) -> Memory {
        if let Some(successor) = successor {
            return Memory { secret: successor.secret().into(), state: None };
        }
        let mut state = config.state_file.as_deref().map(open);
        let known = state.as_ref().and_then(secrets::of);
        let secret = known.unwrap_or_else(rand::random);
        if let Some(state) = &mut state {
            keep(state, &secret);
        }
        Memory { secret: Arc::new(secret), state }
    }

    /// What operators have changed holds on, and what they change is kept.
    pub fn resume(self, publisher: &mut Publisher, successor: Option<&Successor>) {
        match (successor, self.state) {
            (Some(successor), _) => publisher.inherit(successor.adjustments()),
            (None, Some(state)) => publisher.remember(Arc::new(Mutex::new(state))),
            (None, None) => {}
        }
    }
}

/// The state file is this process's now: it gets what is known.
pub fn take_over(path: &Path, secret: &[u8], publisher: &mut Publisher) {
    let mut state = open(path);
    keep(&mut state, secret);
    publisher.record(Arc::new(Mutex::new(state)));
}

fn open(path: &Path) -> StateFile {
    let (state, said) = StateFile::open(path);
    said.iter().for_each(|said| tracing::warn!("{said}"));
    state
}

fn keep(state: &mut StateFile, secret: &[u8]) {
    if let Err(error) = secrets::keep(state, secret) {
        tracing::warn!("the state file {} cannot be written: {error}", state.path().display());
    }
}
