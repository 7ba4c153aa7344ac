//! Idle connections to peers, kept by the worker that opened them. The most recently used is used first.

use std::collections::HashMap;
use std::time::Duration;

use super::Stream;
use crate::clock::Timestamp;
use crate::id::{BuildIdHasher, PeerId};

/// How long a lesson about a peer's idle time holds: it may have been a restart.
const LESSON_HOLDS: Duration = Duration::from_secs(300);
/// Closes sooner than this teach nothing about an idle time.
const SHORTEST_LESSON: Duration = Duration::from_secs(1);

/// The `keepalive*` settings of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Idle connections per peer and worker; 0: none is kept.
    pub idle: usize,
    /// How long one may be idle.
    pub idle_time: Duration,
    /// How many requests one serves.
    pub requests: u64,
    /// How old one may get.
    pub age: Duration,
}

/// A connection's history, which travels with it.
#[derive(Clone, Copy, Debug)]
pub struct Reuse {
    /// When it was opened.
    pub opened: Timestamp,
    /// Requests it has served.
    pub requests: u64,
    /// What the peer promised in `Keep-Alive: timeout=`.
    pub promised: Option<Duration>,
    /// The trust that it was opened with ([`crate::tls::Connector::id`]); `None`: plain.
    pub trust: Option<u64>,
}

/// What a pool keeps. It is in a box from when it was opened until it is closed, and only that is handed about.
pub trait Pooled {
    /// The connection; `None`: it is none of its own, and not kept.
    fn stream(&mut self) -> Option<&mut Stream>;

    /// Its history.
    fn reuse(&self) -> &Reuse;
}

#[derive(Debug)]
struct Idle<C> {
    conn: Box<C>,
    since: Timestamp,
    until: Timestamp,
}

#[derive(Debug)]
struct Pool<C> {
    /// Oldest first.
    idle: Vec<Idle<C>>,
    /// The peer was seen to close a connection after this much idle time.
    closes_after: Option<(Duration, Timestamp)>,
}

/// The pools of one worker.
#[derive(Debug)]
pub struct Pools<C> {
    by_peer: HashMap<PeerId, Pool<C>, BuildIdHasher>,
}

impl<C> Default for Pools<C> {
    fn default() -> Pools<C> {
        Pools { by_peer: HashMap::default() }
    }
}

impl<C> Default for Pool<C> {
    fn default() -> Pool<C> {
        Pool { idle: Vec::new(), closes_after: None }
    }
}

impl<C: Pooled> Pools<C> {
    /// The most recently used idle connection to `peer` that is not known to be closed. With `certain` the kernel is
    /// asked, which costs a system call but leaves only a close that is on its way: for what must not be sent twice.
    pub fn take(&mut self, peer: PeerId, trust: Option<u64>, certain: bool, now: Timestamp) -> Option<Box<C>> {
        let pool = self.by_peer.get_mut(&peer)?;
        while let Some(mut idle) = pool.idle.pop() {
            if idle.conn.reuse().trust != trust {
                // From before a reload that changed what the peer must prove.
                continue;
            }
            if now >= idle.until {
                // Whatever lies below has been idle for longer, but may have been promised more: look on.
                continue;
            }
            if !is_idle(&mut *idle.conn, certain) {
                pool.learn(now.since(idle.since), now);
                continue;
            }
            return Some(idle.conn);
        }
        None
    }

    /// Keeps a connection that has just finished a request, if the limits allow; otherwise it is closed. Of a full
    /// pool the least recently used goes.
    pub fn put(&mut self, peer: PeerId, conn: Box<C>, limits: &Limits, now: Timestamp) {
        let reuse = conn.reuse();
        if limits.idle == 0 || reuse.requests >= limits.requests || now.since(reuse.opened) >= limits.age {
            return;
        }
        let pool = self.by_peer.entry(peer).or_default();
        let learned = pool.closes_after.filter(|(_, when)| now.since(*when) < LESSON_HOLDS).map(|(after, _)| after);
        let idle_time = limits.idle_time.min(learned.unwrap_or(Duration::MAX)).min(safe(reuse.promised));
        if pool.idle.len() >= limits.idle {
            pool.idle.remove(0);
        }
        pool.idle.push(Idle { conn, since: now, until: now + idle_time });
    }

    /// Closes what has been idle too long or was closed by its peer. Called about once a second.
    pub fn sweep(&mut self, now: Timestamp) {
        for pool in self.by_peer.values_mut() {
            let mut lesson = None;
            pool.idle.retain_mut(|idle| {
                let quiet = is_idle(&mut *idle.conn, false);
                if !quiet {
                    lesson = Some(now.since(idle.since));
                }
                quiet && now < idle.until
            });
            if let Some(idle_for) = lesson {
                pool.learn(idle_for, now);
            }
        }
        self.by_peer.retain(|_, pool| {
            !pool.idle.is_empty() || pool.closes_after.is_some_and(|(_, when)| now.since(when) < LESSON_HOLDS)
        });
    }

    /// Closes the idle connections to a peer: it was found unreachable, or is gone.
    pub fn forget(&mut self, peer: PeerId) {
        self.by_peer.remove(&peer);
    }
}

impl<C> Pool<C> {
    fn learn(&mut self, idle_for: Duration, now: Timestamp) {
        if idle_for >= SHORTEST_LESSON {
            self.closes_after = Some((idle_for * 3 / 4, now));
        }
    }
}

/// Whether the peer has neither sent anything nor closed. What only looks busy is asked about: a connection must not be
/// lost, and a wrong lesson learned, since an answer happened to fill a buffer.
fn is_idle(conn: &mut impl Pooled, certain: bool) -> bool {
    conn.stream().is_some_and(|stream| (!certain && stream.looks_quiet()) || stream.is_quiet())
}

/// Half a second before the peer closes it, but never under half of what was promised.
fn safe(promised: Option<Duration>) -> Duration {
    match promised {
        None => Duration::MAX,
        Some(promised) => promised.saturating_sub(Duration::from_millis(500)).max(promised / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_trusted_half_a_second_less() {
        assert_eq!(safe(Some(Duration::from_secs(5))), Duration::from_millis(4_500));
        assert_eq!(safe(Some(Duration::from_millis(600))), Duration::from_millis(300));
        assert_eq!(safe(None), Duration::MAX);
    }
}
