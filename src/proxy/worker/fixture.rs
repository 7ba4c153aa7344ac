//! Workers for tests, without a control plane.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Worker;
use crate::clock::Timestamp;
use crate::config::{self, Env, model};
use crate::telemetry::AccessLog;
use crate::topology::{Live, Topology};

/// The snapshot of a file.
pub fn topology(text: &str) -> Topology {
    let loaded = config::parse("upstream.toml", text, &Env::default()).expect("a good file");
    Topology::build_seeded(Arc::new(loaded.config), 1, Timestamp::ZERO)
}

/// A worker that sees it, and what it sees.
pub fn worker(topology: Topology) -> (Rc<Worker>, Live) {
    let (notices, _heard) = mpsc::unbounded_channel();
    let log = AccessLog::open(&model::LogTarget::Off, model::LogFormat::Json).expect("it is off");
    let live = Live::new(topology);
    (Worker::new(&live, log.worker(), Arc::default(), notices), live)
}
