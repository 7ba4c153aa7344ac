//! Which peer was it that made this session? A table that is learned from answers, of bounded size. (nginx: `sticky
//! learn`, spec §4.8.)

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Tag;
use crate::clock::Timestamp;

/// What stands for a session's name: see [`Key::session`](super::Key::session).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId([u64; 2]);

/// The sessions of one group, for all workers together. Each of its parts has a lock of its own, which a request takes
/// only if it has a session.
#[derive(Debug)]
pub struct Sessions {
    parts: [Mutex<Part>; PARTS],
}

/// How many locks there are; the smallest size of a table.
const PARTS: usize = 16;

#[derive(Debug, Default)]
struct Part {
    entries: HashMap<SessionId, Entry>,
    /// Who was used when: the first is the one that was used longest ago.
    order: BTreeMap<u64, SessionId>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    tag: Tag,
    used: Timestamp,
    /// Its place in `order`.
    turn: u64,
}

impl SessionId {
    pub(super) fn of_bytes(bytes: [u8; 16]) -> SessionId {
        let (high, low) = bytes.split_at(8);
        SessionId([high, low].map(|half| half.iter().fold(0, |n, &byte| n << 8 | u64::from(byte))))
    }
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions { parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Sessions {
    /// The smallest `size`.
    pub const MIN_SIZE: usize = PARTS;

    /// The peer of a session that was used within the last `timeout`.
    pub fn find(&self, session: SessionId, timeout: Duration, now: Timestamp) -> Option<Tag> {
        let part = self.part(session);
        part.entries.get(&session).filter(|entry| now.since(entry.used) <= timeout).map(|entry| entry.tag)
    }

    /// A session was used at a peer: it is there from now on. Whoever was not used for `timeout` is forgotten, and if
    /// there are more than `size` (at least [`MIN_SIZE`](Sessions::MIN_SIZE)), whoever was not used for longest. Each of
    /// the sixteen parts has its share of `size`, which chance does not fill quite evenly.
    pub fn learn(&self, session: SessionId, tag: Tag, size: usize, timeout: Duration, now: Timestamp) {
        let mut part = self.part(session);
        part.forget(session);
        part.expire(timeout, now);
        let room = (size / PARTS).max(1) - 1;
        while part.entries.len() > room {
            part.drop_oldest();
        }
        part.uses += 1;
        let turn = part.uses;
        part.order.insert(turn, session);
        part.entries.insert(session, Entry { tag, used: now, turn });
    }

    /// As [`learn`](Sessions::learn), if the session is known.
    pub fn relearn(&self, session: SessionId, tag: Tag, size: usize, timeout: Duration, now: Timestamp) {
        if self.find(session, timeout, now).is_some() {
            self.learn(session, tag, size, timeout, now);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, session: SessionId) -> MutexGuard<'_, Part> {
        // The names are digests: any of their bits spread evenly.
        lock(&self.parts[session.0[1] as usize % PARTS])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    // Nothing in here can fail half-way.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    fn forget(&mut self, session: SessionId) {
        if let Some(entry) = self.entries.remove(&session) {
            self.order.remove(&entry.turn);
        }
    }

    fn expire(&mut self, timeout: Duration, now: Timestamp) {
        while let Some((_, oldest)) = self.order.first_key_value() {
            if self.entries.get(oldest).is_some_and(|entry| now.since(entry.used) <= timeout) {
                return;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, oldest)) = self.order.pop_first() {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::affinity::Key;

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn tag(name: &str) -> Tag {
        Key::new(b"k").tag(&[name.as_bytes()])
    }

    /// Session `n` of the first part, so that sizes can be told.
    fn session(n: u32) -> SessionId {
        SessionId([0, u64::from(n) * PARTS as u64])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::secs(1_000 + seconds)
    }

    #[test]
    fn a_session_is_found_until_it_was_not_used_for_the_timeout() {
        let sessions = Sessions::default();
        sessions.learn(session(1), tag("a"), 16, TEN_MINUTES, at(0));
        assert_eq!(sessions.find(session(1), TEN_MINUTES, at(600)), Some(tag("a")));
        assert_eq!(sessions.find(session(1), TEN_MINUTES, at(601)), None);
        assert_eq!(sessions.find(session(2), TEN_MINUTES, at(0)), None);
    }

    #[test]
    fn a_session_moves_to_the_peer_that_served_it_last() {
        let sessions = Sessions::default();
        sessions.learn(session(1), tag("a"), 16, TEN_MINUTES, at(0));
        sessions.learn(session(1), tag("b"), 16, TEN_MINUTES, at(1));
        assert_eq!(sessions.find(session(1), TEN_MINUTES, at(1)), Some(tag("b")));
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn only_a_known_session_is_learned_again() {
        let sessions = Sessions::default();
        sessions.relearn(session(1), tag("a"), 160, TEN_MINUTES, at(0));
        assert!(sessions.is_empty());
        sessions.learn(session(1), tag("a"), 160, TEN_MINUTES, at(0));
        sessions.relearn(session(1), tag("b"), 160, TEN_MINUTES, at(500));
        assert_eq!(sessions.find(session(1), TEN_MINUTES, at(1_100)), Some(tag("b")), "it counts as a use");
        sessions.relearn(session(1), tag("c"), 160, TEN_MINUTES, at(1_101));
        assert_eq!(sessions.find(session(1), TEN_MINUTES, at(1_101)), None, "too late");
    }

    #[test]
    fn when_it_is_full_the_least_recently_used_goes() {
        let sessions = Sessions::default();
        let size = 3 * PARTS;
        for n in [1, 2, 3, 1, 4] {
            sessions.learn(session(n), tag("a"), size, TEN_MINUTES, at(n.into()));
        }
        let known: Vec<u32> = (1..=4).filter(|n| sessions.find(session(*n), TEN_MINUTES, at(5)).is_some()).collect();
        assert_eq!(known, [1, 3, 4]);
    }

    #[test]
    fn the_idle_go_before_the_table_is_full() {
        let sessions = Sessions::default();
        sessions.learn(session(1), tag("a"), 1_600, TEN_MINUTES, at(0));
        sessions.learn(session(2), tag("a"), 1_600, TEN_MINUTES, at(300));
        sessions.learn(session(3), tag("a"), 1_600, TEN_MINUTES, at(700));
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn a_smaller_size_takes_effect_at_the_next_session() {
        let sessions = Sessions::default();
        (0..10).for_each(|n| sessions.learn(session(n), tag("a"), 160, TEN_MINUTES, at(0)));
        assert_eq!(sessions.len(), 10);
        sessions.learn(session(10), tag("a"), 32, TEN_MINUTES, at(1));
        assert_eq!(sessions.len(), 2);
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_size_nor_loses_track(
            size in Sessions::MIN_SIZE..200,
            steps in prop::collection::vec((any::<u8>(), 0u8..3, 0u64..50), 1..400),
        ) {
            let sessions = Sessions::default();
            let mut now = 0;
            for (name, what, pause) in steps {
                now += pause;
                let session = Key::new(b"k").session(&[name]);
                match what {
                    0 => sessions.relearn(session, tag("b"), size, TEN_MINUTES, at(now)),
                    _ => {
                        sessions.learn(session, tag("a"), size, TEN_MINUTES, at(now));
                        prop_assert_eq!(sessions.find(session, TEN_MINUTES, at(now)), Some(tag("a")));
                    }
                }
                prop_assert!(sessions.len() <= size);
                for part in &sessions.parts {
                    let part = lock(part);
                    prop_assert_eq!(part.order.len(), part.entries.len());
                    prop_assert!(part.order.iter().all(|(turn, session)| part.entries[session].turn == *turn));
                }
            }
        }
    }
}
