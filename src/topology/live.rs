//! Which snapshot is it now?

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::{Applied, Group, PeerTransition, Topology};
use crate::clock::Timestamp;
use crate::id::GroupId;

/// The current snapshot. One writer, the publisher; readers on every worker.
#[derive(Debug)]
pub struct Live {
    current: Arc<ArcSwap<Topology>>,
}

/// A worker's way to the current snapshot: one atomic load as long as it has not changed.
#[derive(Clone, Debug)]
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Topology>>, Arc<Topology>>,
}

impl Live {
    /// Begins with a snapshot.
    pub fn new(topology: Topology) -> Live {
        Live { current: Arc::new(ArcSwap::from_pointee(topology)) }
    }

    /// The current snapshot, to be held: what a view or the publisher starts from.
    pub fn load(&self) -> Arc<Topology> {
        self.current.load_full()
    }

    /// Puts the next snapshot in place of the one it was made from. Only the publisher calls this.
    pub fn publish(&self, next: Topology, applied: &Applied, now: Timestamp) -> Vec<PeerTransition> {
        let next = Arc::new(next);
        let mut transitions = next.prepare(applied, now);
        self.current.store(next.clone());
        // Only now: a request that chose from the old snapshot must not find its peers gone before there are others.
        transitions.extend(next.complete(applied, now));
        transitions
    }

    /// A reader for one worker.
    pub fn reader(&self) -> Reader {
        Reader { cache: Cache::new(self.current.clone()) }
    }
}

impl Reader {
    /// The current snapshot. Not to be held across a wait: a request keeps its route, and asks anew for each attempt.
    #[inline]
    pub fn topology(&mut self) -> &Arc<Topology> {
        self.cache.load()
    }

    /// A group of the current snapshot.
    pub fn group(&mut self, id: GroupId) -> Option<Arc<Group>> {
        self.topology().group(id).cloned()
    }
}
