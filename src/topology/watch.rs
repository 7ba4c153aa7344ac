//! Who hears how busy a peer is? The balancer of the published snapshot, if it asks to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use crate::balancer::Balancer;

/// A peer's line to its balancer. It is the peer's and not the lease's, so that what a lease of an old snapshot gives
/// back is heard by the balancer of today.
#[derive(Default)]
pub(super) struct Watch {
    /// Whether anybody watches: all that a request pays where nobody does.
    watched: AtomicBool,
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
        let watched = balancer.watches_in_flight();
        self.by.store(watched.then(|| Arc::new(Place { balancer: balancer.clone(), index })));
        self.watched.store(watched, Relaxed);
    }

    /// A request began or ended at the peer.
    pub(super) fn in_flight_changed(&self, in_flight: &dyn Fn() -> u32) {
        if self.watched.load(Relaxed)
            && let Some(place) = &*self.by.load()
        {
            place.balancer.in_flight_changed(place.index, in_flight);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("watched", &self.watched).finish_non_exhaustive()
    }
}
