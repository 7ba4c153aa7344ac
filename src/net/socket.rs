//! What lies under a connection: a TCP or a unix socket, which are told apart here and nowhere above.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;

use super::budget;

/// A connected socket, registered with the worker that owns it.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    /// Who is to be woken by what comes, as its waker's data, and need not say so again; null: nobody for certain.
    ///
    /// tokio keeps the waker until something was announced, and forgets that announcement when somebody has looked in vain. So
    /// as long as nobody looks, either the waker is there or the announcement is.
    reader: Cell<*const ()>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// One over IP.
    pub fn tcp(tcp: TcpStream) -> Socket {
        Socket { kind: Kind::Tcp(tcp), reader: Cell::new(ptr::null()) }
    }

    /// One within this machine.
    pub fn unix(unix: UnixStream) -> Socket {
        Socket { kind: Kind::Unix(unix), reader: Cell::new(ptr::null()) }
    }

    /// Whether it is one over IP.
    pub fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp(_))
    }

    /// The one over IP itself, to be waited for and looked at by whoever asks; `None`: it is none.
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        self.reader.set(ptr::null());
        match &self.kind {
            Kind::Tcp(tcp) => Some(tcp),
            Kind::Unix(_) => None,
        }
    }

    /// This end's address; `None`: it has none, as a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(tcp) => tcp.local_addr().ok(),
            Kind::Unix(_) => None,
        }
    }

    /// Ready when a read would not wait. Costs no system call while nothing has come.
    #[inline]
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody needs to be woken for what is there.
        if !self.looks_quiet() {
            return Poll::Ready(Ok(()));
        }
        let who = cx.waker().data();
        if self.reader.get() == who && !who.is_null() {
            return Poll::Pending;
        }
        self.register_reader(cx)
    }

    #[inline(never)]
    fn register_reader(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A task that has used up its turn is put off without being registered.
        let heard = coop::has_budget_remaining();
        let ready = match &self.kind {
            Kind::Tcp(tcp) => tcp.poll_read_ready(cx),
            Kind::Unix(unix) => unix.poll_read_ready(cx),
        };
        self.reader.set(if ready.is_pending() && heard { cx.waker().data() } else { ptr::null() });
        ready
    }

    /// Ready when a write would not wait. Costs no system call while there is no room.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Tcp(tcp) => tcp.poll_write_ready(cx),
            Kind::Unix(unix) => unix.poll_write_ready(cx),
        }
    }

    /// Whether nothing was announced since the last read. Registers nobody, and costs no system call.
    #[inline]
    pub fn looks_quiet(&self) -> bool {
        self.try_io(Interest::READABLE, || Ok(())).is_err()
    }

    /// Reads into `into`, returning the count; 0 is the end of the stream.
    ///
    /// This and the writes go to the kernel directly: the C library's calls may be cancelled, which costs each of them
    /// two atomic operations in a process with threads. What was announced is taken before anybody is registered.
    #[inline]
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        budget::step(cx, |cx| {
            loop {
                let read = self.transfer(Interest::READABLE, into.len(), || {
                    self.reader.set(ptr::null());
                    Ok(rustix::net::recv(self, &mut *into, RecvFlags::empty())?.0)
                });
                match read {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_read_ready(cx))?,
                    read => return Poll::Ready(read),
                }
            }
        })
    }

    /// Writes what the kernel takes of `bytes`, returning the count. `last`: the end of this side's sending comes next, without a wait,
    /// and may go in one segment with what is written.
    #[inline]
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8], last: bool) -> Poll<io::Result<usize>> {
        let flags = if last { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        self.poll_send(cx, bytes.len(), || Ok(rustix::net::send(self, bytes, flags)?))
    }

    /// The same with what stands in several places.
    #[inline]
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        match slices {
            [one] => self.poll_write(cx, one, last),
            many => {
                let whole = many.iter().map(|slice| slice.len()).sum();
                self.poll_send(cx, whole, || Ok(rustix::io::writev(self, many)?))
            }
        }
    }

    #[inline]
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        whole: usize,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        budget::step(cx, |cx| {
            loop {
                match self.transfer(Interest::WRITABLE, whole, &mut send) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                    sent => return Poll::Ready(sent),
                }
            }
        })
    }

    /// Moves up to `wanted` bytes, if the kernel has announced that it can. Fewer than that were all there is for now: the
    /// next announcement is waited for, instead of asking in vain. (Ends are not forgotten with it. As tokio does.)
    #[inline]
    fn transfer(
        &self,
        interest: Interest,
        wanted: usize,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut part = None;
        let all = self.try_io(interest, || {
            let n = loop {
                match call() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    called => break called?,
                }
            };
            if 0 < n && n < wanted {
                part = Some(n);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(n)
        });
        part.map_or(all, Ok)
    }

    #[inline]
    fn try_io<R>(&self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match &self.kind {
            Kind::Tcp(tcp) => tcp.try_io(interest, call),
            Kind::Unix(unix) => unix.try_io(interest, call),
        }
    }

    /// Copies what the kernel holds without taking it; 0 is the end of the stream. Ready again and again as long as it
    /// is not read.
    pub fn poll_peek(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let peek = || {
                self.reader.set(ptr::null());
                let (copied, _) = rustix::net::recv(self, &mut *into, RecvFlags::PEEK)?;
                Ok(copied)
            };
            let peeked = self.try_io(Interest::READABLE, peek);
            match peeked {
                // The readiness was an old one: asked again, it is waited for.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return Poll::Ready(peeked),
            }
        }
    }

    /// Asks the kernel itself whether the other side has sent nothing and not closed: one system call.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match SockRef::from(self).peek(&mut byte) {
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }

    /// Ends this side's sending (FIN).
    pub fn shutdown_write(&self) {
        // Fails only when the other side is gone already.
        let _ = SockRef::from(self).shutdown(Shutdown::Write);
    }

    /// Makes the coming close a reset. A unix socket knows none: there the other side reads an end.
    pub fn reset_on_close(&self) {
        // Fails only when the other side is gone already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(tcp) => tcp.as_fd(),
            Kind::Unix(unix) => unix.as_fd(),
        }
    }
}

/// For TLS, which brings its own framing.
impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Socket::poll_read(&self, cx, into.initialize_unfilled()))?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self, cx, bytes, false)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Socket::poll_write_vectored(&self, cx, slices, false)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The kernel has all that was written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::unix::net::UnixStream as Other;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pair() -> (Other, Socket) {
        let (other, own) = Other::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        (other, Socket::unix(UnixStream::from_std(own).unwrap()))
    }

    /// Waits until the kernel has announced something, which the task that asks here is not told of otherwise.
    async fn announced(socket: &Socket) {
        while socket.looks_quiet() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn whoever_waits_again_is_woken_again_whichever_way_was_looked_in_vain() {
        type Look = fn(&Socket, &mut Context<'_>) -> bool;
        let read: Look = |socket, cx| socket.poll_read(cx, &mut [0; 8]).is_pending();
        let peek: Look = |socket, cx| socket.poll_peek(cx, &mut [0; 8]).is_pending();
        for looks in [read, peek] {
            let (mut other, socket) = pair();
            let woken = Arc::<Woken>::default();
            let waker = Waker::from(Arc::clone(&woken));
            let mut cx = Context::from_waker(&waker);
            for round in 0..3 {
                assert!(looks(&socket, &mut cx));
                // Once more costs nothing, and changes nothing.
                assert!(socket.poll_read_ready(&mut cx).is_pending());
                other.write_all(b"hello").unwrap();
                announced(&socket).await;
                assert_eq!(woken.0.load(Ordering::Relaxed), round + 1);
                assert_eq!(poll_fn(|cx| socket.poll_read(cx, &mut [0; 8])).await.unwrap(), 5);
            }
        }
    }

    #[tokio::test]
    async fn of_two_that_wait_the_last_is_woken() {
        let (mut other, socket) = pair();
        let woken = [Arc::<Woken>::default(), Arc::<Woken>::default()];
        let wakers = woken.clone().map(Waker::from);
        for waker in [&wakers[0], &wakers[1], &wakers[0], &wakers[1]] {
            assert!(socket.poll_read_ready(&mut Context::from_waker(waker)).is_pending());
        }
        other.write_all(b"hello").unwrap();
        announced(&socket).await;
        assert_eq!(woken.map(|woken| woken.0.load(Ordering::Relaxed)), [0, 1]);
    }
}
