//! A client's socket, watched on its way into the library.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Meter;
use super::frames::{Frames, Part};
use super::rules::Rules;
use crate::clock::Timestamp;
use crate::net::Stream;
use crate::proxy::worker::Worker;

/// Bytes that are taken at a time from a client that was told everything.
const DISCARDED: usize = 4096;
/// How often that is done before others have their turn.
const DISCARDED_AT_ONCE: usize = 16;

/// What is seen of a connection while the library drives it.
#[derive(Debug)]
pub struct Watch {
    inbound: RefCell<Inbound>,
    fault: Cell<Option<Reason>>,
    written: Cell<u64>,
    closing: Cell<Option<Timestamp>>,
}

/// What is known of the frames that came.
#[derive(Debug)]
struct Inbound {
    frames: Frames,
    meter: Meter,
    rules: Rules,
}

impl Inbound {
    /// Takes note of bytes that came. The error: why the connection must end, and how many of them came before that.
    fn came(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), (usize, Reason)> {
        let Inbound { frames, meter, rules } = self;
        frames.follow(bytes, |part| {
            rules.check(&part)?;
            match part {
                Part::Head(head) if !meter.came(&head, now) => Err(Reason::ENHANCE_YOUR_CALM),
                _ => Ok(()),
            }
        })
    }
}

impl Watch {
    /// Nothing was seen yet.
    pub fn new(worker: &Worker) -> Rc<Watch> {
        let inbound = Inbound { frames: Frames::new(), meter: Meter::new(worker.now()), rules: Rules::default() };
        Rc::new(Watch {
            inbound: RefCell::new(inbound),
            fault: Cell::new(None),
            written: Cell::new(0),
            closing: Cell::new(None),
        })
    }

    /// Why the connection must end: the client broke a rule, or sent too many frames of little use. The library gets
    /// nothing more to read then.
    pub fn fault(&self) -> Option<Reason> {
        self.fault.get()
    }

    /// Bytes that the client's socket has taken.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// Since when everything was said, and only the client's end is waited for.
    pub fn closing_since(&self) -> Option<Timestamp> {
        self.closing.get()
    }
}

/// The socket, with what was read of it before the library got it.
pub struct Tap {
    stream: Stream,
    begun: Vec<u8>,
    worker: Rc<Worker>,
    watch: Rc<Watch>,
}

impl Tap {
    /// `begun`: what was read already, to be read again.
    pub fn new(stream: Stream, begun: Vec<u8>, worker: Rc<Worker>, watch: Rc<Watch>) -> Tap {
        Tap { stream, begun, worker, watch }
    }

    fn went(&self, n: usize) {
        self.watch.inbound.borrow_mut().meter.went(n);
        self.watch.written.set(self.watch.written.get() + n as u64);
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.watch.fault.get().is_some() {
            // Whoever drives the connection looks at the watch next.
            return Poll::Pending;
        }
        let before = into.filled().len();
        if self.begun.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        } else {
            let n = into.remaining().min(self.begun.len());
            into.put_slice(&self.begun[..n]);
            self.begun.drain(..n);
        }
        let came = &into.filled()[before..];
        let checked = self.watch.inbound.borrow_mut().came(came, self.worker.now());
        if let Err((good, reason)) = checked {
            self.watch.fault.set(Some(reason));
            into.set_filled(before + good);
            if good == 0 {
                // Nothing at all would be taken for the client's end.
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.went(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(AsyncWrite::poll_write_vectored(Pin::new(&mut self.stream), cx, slices))?;
        self.went(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends our side and reads what the client is still sending, so that a reset does not destroy what it has not read.
    /// How long that may take is for whoever drives the connection to say.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.closing.get().is_none() {
            self.watch.closing.set(Some(self.worker.now()));
            self.stream.shutdown_write();
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let mut discarded = [0; DISCARDED];
        for _ in 0..DISCARDED_AT_ONCE {
            let mut into = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
