//! What stands for a client in memory?

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// 128 bits of a keyed hash: of one size whatever a client sends, and nobody can choose keys that share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(u64, u64);

/// Makes the ids of one zone.
#[derive(Debug, Default)]
pub(super) struct Namer(RandomState, RandomState);

impl Namer {
    pub fn name(&self, key: &[u8]) -> KeyId {
        KeyId(self.0.hash_one(key), self.1.hash_one(key))
    }
}

impl KeyId {
    /// Which of `parts` it belongs to. Taken from other bits than a map's.
    pub(super) fn part(self, parts: usize) -> usize {
        usize::try_from(self.1 % parts as u64).unwrap_or(0)
    }

    /// The `n`th of ids that all belong to the first of 16 parts.
    #[cfg(test)]
    pub(super) fn nth(n: u64) -> KeyId {
        KeyId(n, n * 16)
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// A map by ids, which are hashes already.
pub(super) type ById<V> = HashMap<KeyId, V, BuildHasherDefault<AsItIs>>;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_id_and_another_key_or_zone_another() {
        let (zone, other) = (Namer::default(), Namer::default());
        assert_eq!(zone.name(b"10.0.0.1"), zone.name(b"10.0.0.1"));
        assert_ne!(zone.name(b"10.0.0.1"), zone.name(b"10.0.0.2"));
        assert_ne!(zone.name(b"10.0.0.1"), other.name(b"10.0.0.1"));
    }
}
