//! Which snapshot is it now?

use std::ops::Deref;
use std::rc::Rc;
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
#[derive(Debug)]
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Topology>>, Arc<Topology>>,
    /// The snapshot that a group was last asked of.
    asked: Arc<Topology>,
    /// Those of its groups that were asked for, by their place.
    groups: Vec<Option<Local<Group>>>,
}

/// A part of a snapshot in the hands of one worker, which alone counts who has it: all workers have the same few, and a count
/// that each of them writes would travel from core to core with every request.
#[derive(Debug)]
#[expect(clippy::redundant_allocation, reason = "the inner count is shared, which is what the outer one avoids")]
pub struct Local<T>(Rc<Arc<T>>);

impl<T> Local<T> {
    /// Whether both are the same part of the same snapshot, or of two that share it.
    pub fn is(&self, other: &Local<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Local<T> {
        Local(Rc::clone(&self.0))
    }
}

impl<T> Deref for Local<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<Arc<T>> for Local<T> {
    fn from(part: Arc<T>) -> Local<T> {
        Local(Rc::new(part))
    }
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
        Reader { cache: Cache::new(self.current.clone()), asked: self.load(), groups: Vec::new() }
    }
}

impl Reader {
    /// The current snapshot. Not to be held across a wait: a request keeps its route, and asks anew for each attempt.
    #[inline]
    pub fn topology(&mut self) -> &Arc<Topology> {
        self.cache.load()
    }

    /// A group of the current snapshot.
    pub fn group(&mut self, id: GroupId) -> Option<Local<Group>> {
        self.let_go();
        let place = self.asked.place(id)?;
        if let Some(Some(held)) = self.groups.get(place) {
            return Some(held.clone());
        }
        let groups = self.asked.groups();
        let held = Local::from(Arc::clone(&groups[place]));
        self.groups.resize(groups.len(), None);
        self.groups[place] = Some(held.clone());
        Some(held)
    }

    /// Holds nothing of a snapshot that is not the current one. Whoever asks for nothing does this once in a while.
    #[inline]
    pub fn let_go(&mut self) {
        let topology = self.cache.load();
        if !Arc::ptr_eq(&self.asked, topology) {
            self.asked = Arc::clone(topology);
            self.groups.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;
    use crate::config::{self, Env};

    fn parsed(groups: &[(&str, &str)]) -> Arc<config::Config> {
        let groups = groups.iter().map(|(name, server)| format!("[upstream.{name}]\nservers = [\"{server}\"]\n"));
        let text = groups.collect::<String>() + "[[stream]]\nlisten = 53\nproxy_pass = \"b\"\n";
        Arc::new(config::parse("upstream.toml", &text, &Env::default()).expect("a good file").config)
    }

    #[test]
    fn a_reader_has_the_groups_of_the_present_snapshot() {
        let before = Topology::build_seeded(parsed(&[("a", "10.0.0.1:1"), ("b", "10.0.0.2:1")]), 1, Timestamp::ZERO);
        let [a, b] = [0, 1].map(|at| before.groups()[at].id());
        let live = Live::new(before);
        let mut reader = live.reader();
        let first = reader.group(b).expect("it is in the file");
        assert!(reader.group(b).expect("it is in the file").is(&first));
        assert_eq!((first.name(), reader.group(a).map(|group| group.name().to_owned())), ("b", Some("a".to_owned())));

        let change = Change::Config(parsed(&[("b", "10.0.0.3:1")]));
        let (next, applied) = live.load().apply(change, Timestamp::ZERO);
        live.publish(next, &applied, Timestamp::ZERO);
        assert!(reader.group(a).is_none(), "a reload has removed it");
        let second = reader.group(b).expect("it is in the new file");
        assert!(!second.is(&first));
        assert_eq!(second.seats().map(|seat| seat.peer.addr.to_string()).collect::<Vec<_>>(), ["10.0.0.3:1"]);
    }
}
