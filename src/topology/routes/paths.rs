//! Which location has this path?

use std::sync::Arc;

use super::Route;
use crate::config::model::PathMatch;

/// The locations of a server. A look-up is two binary searches and a short climb, whatever their number.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// In byte order.
    exact: Vec<Entry>,
    /// In byte order. The last prefix not above a path extends the longest one that fits it, if any fits: everything
    /// between those two in byte order begins with the latter. So its `parent` chain leads there.
    prefix: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    /// Index of the longest other prefix of this one.
    parent: Option<usize>,
    route: Arc<Route>,
}

impl Paths {
    /// Of two locations with one path, the first stays.
    pub(super) fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Paths {
        let mut paths = Paths::default();
        for route in routes {
            let (kind, text) = match &route.location.path {
                PathMatch::Exact(text) => (&mut paths.exact, text),
                PathMatch::Prefix(text) => (&mut paths.prefix, text),
            };
            kind.push(Entry { text: text.as_bytes().into(), parent: None, route: route.clone() });
        }
        for kind in [&mut paths.exact, &mut paths.prefix] {
            kind.sort_by(|a, b| a.text.cmp(&b.text));
            kind.dedup_by(|later, first| later.text == first.text);
        }
        link(&mut paths.prefix);
        paths
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<&Arc<Route>> {
        if let Ok(at) = self.exact.binary_search_by(|entry| (*entry.text).cmp(path)) {
            return Some(&self.exact[at].route);
        }
        let mut at = self.prefix.partition_point(|entry| *entry.text <= *path).checked_sub(1);
        while let Some(entry) = at.map(|at| &self.prefix[at]) {
            if path.starts_with(&entry.text) {
                return Some(&entry.route);
            }
            at = entry.parent;
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.exact.iter().chain(&self.prefix).map(|entry| &entry.route)
    }
}

/// In byte order, the prefixes of an entry are those of the entry before it that still fit, and perhaps that entry.
fn link(sorted: &mut [Entry]) {
    for at in 1..sorted.len() {
        let mut parent = Some(at - 1);
        while let Some(above) = parent {
            if sorted[at].text.starts_with(&sorted[above].text) {
                break;
            }
            parent = sorted[above].parent;
        }
        sorted[at].parent = parent;
    }
}
