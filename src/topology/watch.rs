//! Who hears how a peer is used? The balancer of the published snapshot, if it asks to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use crate::balancer::{Balancer, Latency};

/// A peer's line to its balancer. It is the peer's and not the lease's, so that what a lease of an old snapshot gives
/// back is heard by the balancer of today.
#[derive(Default)]
pub(super) struct Watch {
    /// Whether anybody watches: all that a request pays where nobody does.
    watched: AtomicBool,
    /// Whether they want to hear of heads, too.
    heads: AtomicBool,
    by: ArcSwapOption<Place>,
}

struct Place {
    balancer: Arc<dyn Balancer>,
    index: usize,
}

impl Watch {
    /// From now on `balancer` hears of the peer, which is its peer `index`, or nobody does if it does not ask to. It is
    /// to be told what is so now after this.
    pub(super) fn set(&self, balancer: &Arc<dyn Balancer>, index: usize) {
        let watched = balancer.watches_use();
        self.by.store(watched.then(|| Arc::new(Place { balancer: balancer.clone(), index })));
        self.watched.store(watched, Relaxed);
        self.heads.store(balancer.watches_heads(), Relaxed);
    }

    /// A request began or ended at the peer.
    pub(super) fn use_changed(&self, latency: &Latency, in_flight: &dyn Fn() -> u32) {
        if self.watched.load(Relaxed) {
            self.tell(latency, in_flight);
        }
    }

    /// The head of an answer came.
    pub(super) fn head_came(&self, latency: &Latency, in_flight: &dyn Fn() -> u32) {
        if self.heads.load(Relaxed) {
            self.tell(latency, in_flight);
        }
    }

    fn tell(&self, latency: &Latency, in_flight: &dyn Fn() -> u32) {
        if let Some(place) = &*self.by.load() {
            place.balancer.use_changed(place.index, latency, in_flight);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("watched", &self.watched).finish_non_exhaustive()
    }
}
