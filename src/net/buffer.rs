//! Bytes read and not yet used: a contiguous window over one allocation.
//!
//! The memory is lent by the thread, and given back as soon as nothing is in it: what a thread's connections read goes
//! through the same few kilobytes, which stay in the cache, and one that waits holds none.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

use super::Stream;

/// What a buffer holds when it first reads, in bytes: most heads fit.
const SMALL: usize = 8 * 1024;
/// What it grows to while a body streams, in bytes.
const LARGE: usize = 64 * 1024;

/// How many bytes of memory that nobody uses are kept per thread, for each of the two sizes.
const SPARE: usize = 2 * 1024 * 1024;

/// Memory of a thread that no buffer uses.
#[derive(Debug)]
struct Spare {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

thread_local! {
    static SPARES: RefCell<Spare> = const { RefCell::new(Spare { small: Vec::new(), large: Vec::new() }) };
    static DESK: RefCell<[u8; SMALL]> = const { RefCell::new([0; SMALL]) };
}

/// Lends memory of the thread's to whoever is done with it at once. What others have left is in it.
#[inline]
pub fn lend<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    DESK.with_borrow_mut(|desk| work(desk))
}

impl Spare {
    /// So many bytes, which is one of the two sizes. What others have left is in them.
    fn take(&mut self, size: usize) -> Vec<u8> {
        let spare = if size == SMALL { self.small.pop() } else { self.large.pop() };
        spare.unwrap_or_else(|| vec![0; size])
    }

    fn put(&mut self, storage: Vec<u8>) {
        let (kept, most) = match storage.len() {
            SMALL => (&mut self.small, SPARE / SMALL),
            LARGE => (&mut self.large, SPARE / LARGE),
            // One that has grown to something between: rare, and not kept.
            _ => return,
        };
        if kept.len() < most {
            kept.push(storage);
        }
    }
}

/// A read buffer. Has memory while something is in it.
#[derive(Debug, Default)]
pub struct Buffer {
    storage: Vec<u8>,
    start: usize,
    end: usize,
    /// Much is expected.
    bulk: bool,
}

impl Buffer {
    /// The bytes that are there.
    pub fn data(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes are there.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Forgets the first `n` bytes.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.start = (self.start + n).min(self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            // Of a body that streams the next piece is likely to be there already.
            if !self.bulk {
                self.rest();
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.bulk = false;
        self.rest();
    }

    /// Gives back the memory of an empty buffer, which is about to wait.
    #[inline]
    pub fn rest(&mut self) {
        if !self.storage.is_empty() && self.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        SPARES.with_borrow_mut(|spares| spares.put(storage));
    }

    /// Bytes that it has memory for.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// Whether a read could add anything without more than `limit` bytes being held.
    pub fn has_room(&self, limit: usize) -> bool {
        self.len() < limit
    }

    /// Reads once; `Ok(0)` is the end of the stream. A buffer that was filled to the brim grows, so that a long body takes
    /// few system calls, but never to more than `limit` bytes (or what it was before).
    ///
    /// # Errors
    /// Those of the stream, and `StorageFull` if there is no room: never is that taken for the end of the stream.
    pub fn poll_fill(&mut self, stream: &mut Stream, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        // No memory is needed for what has not come: an answer that is waited for.
        if self.storage.is_empty() && stream.is_silent(cx) {
            return Poll::Pending;
        }
        if !self.make_room(limit) {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        match stream.poll_read(cx, &mut self.storage[self.end..]) {
            Poll::Ready(Ok(n)) => {
                self.end += n;
                Poll::Ready(Ok(n))
            }
            waits => {
                self.rest();
                waits
            }
        }
    }

    /// Takes as much of `bytes` as fits without more than `limit` being held, and says how much that was.
    pub fn append(&mut self, bytes: &[u8], limit: usize) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && self.make_room(limit) {
            let n = (bytes.len() - taken).min(self.storage.len() - self.end);
            self.storage[self.end..self.end + n].copy_from_slice(&bytes[taken..taken + n]);
            self.end += n;
            taken += n;
        }
        taken
    }

    /// False: there is none to be had.
    #[inline]
    fn make_room(&mut self, limit: usize) -> bool {
        if self.storage.is_empty() {
            let size = if self.bulk { LARGE } else { SMALL };
            self.storage = SPARES.with_borrow_mut(|spares| spares.take(size));
        } else if self.end == self.storage.len() {
            self.move_or_grow(limit.max(SMALL));
        }
        self.end < self.storage.len()
    }

    fn move_or_grow(&mut self, limit: usize) {
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.storage.len() && self.storage.len() < limit {
            let grown = (self.storage.len() * 2).min(limit);
            self.storage.resize(grown, 0);
        }
    }

    /// The largest a streaming buffer gets, in bytes: what a connection's memory is bounded by.
    pub const STREAMING: usize = LARGE;

    /// Makes an empty buffer one for streaming, once a body has shown itself to be long.
    pub fn expect_bulk(&mut self) {
        if self.is_empty() && !self.bulk {
            self.rest();
            self.bulk = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer { storage: vec![0; SMALL], start: 0, end: bytes.len(), bulk: false };
        buffer.storage[..bytes.len()].copy_from_slice(bytes);
        buffer
    }

    #[test]
    fn what_is_consumed_is_gone() {
        let mut buffer = with(b"hello world");
        buffer.consume(6);
        assert_eq!(buffer.data(), b"world");
        buffer.consume(5);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_empty_buffer_has_no_memory_unless_much_is_expected() {
        let mut first = with(b"hello");
        let memory = first.storage.as_ptr();
        first.consume(5);
        assert_eq!(first.capacity(), 0);
        let mut second = Buffer::default();
        second.append(b"x", SMALL);
        assert_eq!(second.storage.as_ptr(), memory, "the next one has it");

        second.clear();
        second.expect_bulk();
        assert_eq!(second.append(b"xyz", LARGE), 3);
        assert_eq!(second.capacity(), LARGE);
        second.consume(3);
        assert_eq!(second.capacity(), LARGE);
        second.clear();
        second.append(b"x", SMALL);
        assert_eq!(second.capacity(), SMALL);
    }

    #[test]
    fn memory_that_nobody_uses_is_bounded() {
        let mut spare = Spare { small: Vec::new(), large: Vec::new() };
        for size in [SMALL, LARGE, SMALL + 1] {
            (0..SPARE / SMALL + 1).for_each(|_| spare.put(vec![0; size]));
        }
        assert_eq!((spare.small.len() * SMALL, spare.large.len() * LARGE), (SPARE, SPARE));
    }

    #[test]
    fn what_is_appended_is_bounded() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.append(&vec![b'x'; 3 * SMALL], 2 * SMALL), 2 * SMALL);
        assert_eq!(buffer.append(b"y", 2 * SMALL), 0);
        buffer.consume(SMALL);
        assert_eq!(buffer.append(b"yz", 2 * SMALL), 2);
        assert!(buffer.data().ends_with(b"xyz"));
    }

    #[test]
    fn room_is_made_by_moving_before_growing() {
        let mut buffer = with(&vec![b'x'; SMALL]);
        buffer.consume(SMALL - 1);
        buffer.make_room(LARGE);
        assert_eq!((buffer.len(), buffer.storage.len()), (1, SMALL));
    }

    #[test]
    fn a_full_buffer_grows_to_its_limit_and_no_further() {
        let mut buffer = with(&vec![b'x'; SMALL]);
        assert!(buffer.make_room(SMALL + 10));
        assert_eq!(buffer.storage.len(), SMALL + 10);
        buffer.end = buffer.storage.len();
        // Read into no room at all, a stream would seem to be at its end.
        assert!(!buffer.make_room(SMALL + 10));
        assert_eq!(buffer.storage.len(), SMALL + 10);
    }
}
