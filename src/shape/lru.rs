//! Who is forgotten when there is no room? Whoever was not seen for longest.

use slab::Slab;

use super::key::{ById, KeyId};

/// Values by id, in the order of their last use.
#[derive(Debug)]
pub(super) struct Lru<V> {
    places: ById<u32>,
    entries: Slab<Entry<V>>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Entry<V> {
    id: KeyId,
    value: V,
    older: u32,
    newer: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl<V> Default for Lru<V> {
    fn default() -> Lru<V> {
        Lru { places: ById::default(), entries: Slab::new(), newest: NONE, oldest: NONE }
    }
}

impl<V> Lru<V> {
    /// Bytes that one entry takes, at most: its own, and those of the map, which is at least 7/16 full.
    #[cfg(test)]
    pub const WEIGHT: usize = size_of::<Entry<V>>() + 8 + (size_of::<(KeyId, u32)>() + 1) * 16 / 7;

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of an id, which is the newest from now on.
    pub fn touch(&mut self, id: KeyId) -> Option<&mut V> {
        let place = *self.places.get(&id)?;
        if place != self.newest {
            self.unlink(place);
            self.link(place);
        }
        self.entries.get_mut(place as usize).map(|entry| &mut entry.value)
    }

    /// A new id. In place of one more than `room` the oldest goes.
    pub fn insert(&mut self, id: KeyId, value: V, room: usize) {
        self.remove(id);
        while self.len() >= room.clamp(1, NONE as usize) {
            self.drop_oldest();
        }
        if self.entries.len() == self.entries.capacity() {
            // Not beyond the room: doubling would.
            self.entries.reserve_exact(self.len().clamp(4, 4 + room - self.len().min(room)));
        }
        let place = self.entries.insert(Entry { id, value, older: NONE, newer: NONE }) as u32;
        self.places.insert(id, place);
        self.link(place);
    }

    /// The value that was not used for longest.
    pub fn oldest(&self) -> Option<&V> {
        self.entries.get(self.oldest as usize).map(|entry| &entry.value)
    }

    /// Forgets it.
    pub fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.get(self.oldest as usize) {
            self.remove(entry.id);
        }
    }

    fn remove(&mut self, id: KeyId) {
        if let Some(place) = self.places.remove(&id) {
            self.unlink(place);
            self.entries.remove(place as usize);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Entry { older, newer, .. } = self.entries[place as usize];
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let entry = &mut self.entries[place as usize];
        (entry.older, entry.newer) = (before, NONE);
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn when_it_is_full_whoever_was_not_seen_for_longest_goes() {
        let mut lru = Lru::default();
        for n in [1, 2, 3] {
            lru.insert(KeyId::nth(n), n, 3);
        }
        assert_eq!(lru.touch(KeyId::nth(1)), Some(&mut 1));
        lru.insert(KeyId::nth(4), 4, 3);
        let known: Vec<u64> = (1..=4).filter(|n| lru.touch(KeyId::nth(*n)).is_some()).collect();
        assert_eq!(known, [1, 3, 4]);
    }

    proptest! {
        #[test]
        fn it_does_as_a_plain_list_would(steps in prop::collection::vec((0u64..12, any::<bool>(), 1usize..8), 1..300)) {
            let (mut lru, mut list) = (Lru::default(), VecDeque::new());
            for (n, insert, room) in steps {
                let known = list.iter().position(|known| *known == n);
                if insert {
                    known.map(|at| list.remove(at));
                    list.truncate(room - 1);
                    list.push_front(n);
                    lru.insert(KeyId::nth(n), n, room);
                } else {
                    prop_assert_eq!(lru.touch(KeyId::nth(n)).map(|n| *n), known.map(|_| n));
                    if let Some(at) = known {
                        list.remove(at);
                        list.push_front(n);
                    }
                }
                prop_assert_eq!(lru.oldest(), list.back());
                prop_assert_eq!(lru.len(), list.len());
                prop_assert_eq!(lru.places.len(), list.len());
            }
        }

        #[test]
        fn its_memory_is_that_of_its_room(room in 1usize..400) {
            let mut lru = Lru::default();
            (0..1_000).for_each(|n| lru.insert(KeyId::nth(n), n, room));
            prop_assert_eq!(lru.len(), room);
            prop_assert!(lru.entries.capacity() <= room + 4, "{} of {}", lru.entries.capacity(), room);
        }
    }
}
