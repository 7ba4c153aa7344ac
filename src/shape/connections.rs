//! How many requests of this client are there already? `limit_conn`. (nginx: `ngx_http_limit_conn_module`.)

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Notices;
use super::key::{ById, KeyId, Namer};

/// How many locks the counts of a zone have.
const PARTS: usize = 16;

/// The requests in flight of all clients of a zone, for all workers together, in bounded memory.
#[derive(Debug, Default)]
pub struct Connections {
    namer: Namer,
    parts: [Mutex<ById<u32>>; PARTS],
    /// How many clients have requests in flight.
    clients: AtomicUsize,
    /// What is told of refusals.
    pub refused: Notices,
}

/// One `limit_conn` of a location.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    /// The zone's counts.
    pub zone: Arc<Connections>,
    /// The zone's size, in clients.
    pub clients: usize,
    /// `connections`: how many requests of a client may be in flight.
    pub connections: u32,
}

/// Why a request may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The client has as many requests in flight as it may.
    Client,
    /// The zone has no room for one more client.
    Zone,
}

/// A request in flight. It ends with this.
#[derive(Debug)]
pub struct Held {
    zone: Arc<Connections>,
    id: KeyId,
}

impl Connections {
    /// Bytes that one client takes, at most. (nginx's states take the same on 64 bits.)
    pub const BYTES_PER_CLIENT: u64 = 64;
    /// The smallest size of a zone, in bytes. (nginx: eight pages.)
    pub const MIN_SIZE: u64 = 32 << 10;

    /// How many requests are in flight.
    pub fn in_flight(&self) -> u64 {
        self.parts.iter().map(|part| lock(part).values().map(|count| u64::from(*count)).sum::<u64>()).sum()
    }

    fn part(&self, id: KeyId) -> MutexGuard<'_, ById<u32>> {
        lock(&self.parts[id.part(PARTS)])
    }
}

fn lock(part: &Mutex<ById<u32>>) -> MutexGuard<'_, ById<u32>> {
    // Nothing in here can fail half-way.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConnectionLimit {
    /// Counts a request of the client with this key. `Ok(None)`: the key is empty, and not limited.
    ///
    /// # Errors
    /// If there are too many.
    pub fn enter(&self, key: &[u8]) -> Result<Option<Held>, Full> {
        if key.is_empty() {
            return Ok(None);
        }
        let id = self.zone.namer.name(key);
        let mut part = self.zone.part(id);
        match part.get_mut(&id) {
            Some(count) if *count >= self.connections => return Err(Full::Client),
            Some(count) => *count += 1,
            None => {
                if self.zone.clients.fetch_add(1, Relaxed) >= self.clients {
                    self.zone.clients.fetch_sub(1, Relaxed);
                    return Err(Full::Zone);
                }
                part.insert(id, 1);
            }
        }
        drop(part);
        Ok(Some(Held { zone: Arc::clone(&self.zone), id }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut part = self.zone.part(self.id);
        match part.get_mut(&self.id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                part.remove(&self.id);
                self.zone.clients.fetch_sub(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(connections: u32, clients: usize) -> ConnectionLimit {
        ConnectionLimit { zone: Arc::default(), clients, connections }
    }

    #[test]
    fn a_client_has_so_many_requests_in_flight_and_no_more() {
        let limit = limit(2, 10);
        let first = limit.enter(b"me").unwrap();
        let _second = limit.enter(b"me").unwrap();
        assert_eq!(limit.enter(b"me").unwrap_err(), Full::Client);
        assert!(limit.enter(b"you").is_ok());
        drop(first);
        assert!(limit.enter(b"me").is_ok(), "one has ended");
    }

    #[test]
    fn an_empty_key_is_not_limited() {
        let limit = limit(1, 1);
        assert!((0..5).all(|_| limit.enter(b"").unwrap().is_none()));
        assert_eq!(limit.zone.in_flight(), 0);
    }

    #[test]
    fn a_zone_without_room_refuses_new_clients_until_one_has_left() {
        let limit = limit(9, 2);
        let held: Vec<_> = [b"a", b"b"].iter().map(|key| limit.enter(*key).unwrap()).collect();
        assert_eq!(limit.enter(b"c").unwrap_err(), Full::Zone);
        assert!(limit.enter(b"a").is_ok(), "who is known goes on");
        drop(held);
        assert!(limit.enter(b"c").is_ok());
        assert_eq!((limit.zone.in_flight(), limit.zone.clients.load(Relaxed)), (0, 0), "nothing is left behind");
    }

    #[test]
    fn the_map_takes_no_more_than_the_zone_has() {
        let entry = (size_of::<(KeyId, u32)>() + 1) as u64;
        assert!(entry * 16 / 7 <= Connections::BYTES_PER_CLIENT, "at least 7/16 of a map are used");
    }

    #[test]
    fn threads_share_one_count() {
        let limit = limit(3, 10);
        let most = AtomicUsize::new(0);
        let now = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Ok(held) = limit.enter(b"me") else { continue };
                        most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
                        std::thread::yield_now();
                        now.fetch_sub(1, Relaxed);
                        drop(held);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Relaxed)));
        assert_eq!(limit.zone.in_flight(), 0);
    }
}
