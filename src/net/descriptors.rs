//! How do open sockets get from one process to another? Over a unix socket, beside messages that announce them
//! (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// How many descriptors go with one byte: the kernel takes 253 at most (`SCM_MAX_FD`).
const BATCH: usize = 128;
/// The largest message, in bytes: what is said of some 100,000 peers.
const LARGEST: usize = 16 << 20;
/// What a batch of descriptors goes with: without a byte there is nothing to go with.
const CARRIER: u8 = b'.';

/// A connection of two processes that say messages to each other and pass descriptors.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// Over this connection.
    pub fn new(stream: UnixStream) -> Channel {
        Channel { stream }
    }

    /// Whose process is at the other end, as the kernel says (`SO_PEERCRED`): user, and process if it is known.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn peer(&self) -> io::Result<(u32, Option<i32>)> {
        let credentials = self.stream.peer_cred()?;
        Ok((credentials.uid(), credentials.pid()))
    }

    /// Says one message.
    ///
    /// # Errors
    /// The other process is gone.
    pub async fn say(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut framed = Vec::with_capacity(4 + message.len());
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(message);
        self.stream.write_all(&framed).await
    }

    /// Hears one message.
    ///
    /// # Errors
    /// `UnexpectedEof`: the other process is gone. `InvalidData`: what it says is too long.
    pub async fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).await?;
        Ok(message)
    }

    /// Passes duplicates of these descriptors. The other process must know how many.
    ///
    /// # Errors
    /// The other process is gone.
    pub async fn pass(&mut self, descriptors: &[OwnedFd]) -> io::Result<()> {
        for batch in descriptors.chunks(BATCH) {
            let borrowed: Vec<_> = batch.iter().map(AsFd::as_fd).collect();
            self.stream
                .async_io(Interest::WRITABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    let carrier = [IoSlice::new(&[CARRIER])];
                    Ok(rustix::net::sendmsg(&self.stream, &carrier, &mut control, SendFlags::NOSIGNAL)?)
                })
                .await?;
        }
        Ok(())
    }

    /// Takes so many descriptors. None of them is inherited by programs that this process starts.
    ///
    /// # Errors
    /// `UnexpectedEof`: the other process is gone. `InvalidData`: it passes others than it said.
    pub async fn take(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let mut carrier = [0];
            let (bytes, batch) = self
                .stream
                .async_io(Interest::READABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
                    let mut control = RecvAncillaryBuffer::new(&mut space);
                    let mut slices = [IoSliceMut::new(&mut carrier)];
                    let received =
                        rustix::net::recvmsg(&self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
                    let mut batch = Vec::new();
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                            batch.extend(descriptors);
                        }
                    }
                    Ok((received.bytes, batch))
                })
                .await?;
            if bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A batch that is cut (no room for descriptors in this process) must not pass for a whole one.
            if carrier != [CARRIER] || batch.len() != BATCH.min(count - taken.len()) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            taken.extend(batch);
        }
        Ok(taken)
    }

    /// Waits until the other process closes its end, or says something, which is not heard.
    pub async fn closed(&mut self) {
        // Either way there is nothing more to wait for.
        let _ = self.stream.read_u8().await;
    }

    /// Hears what was said up to now, and nothing after: whatever the other process says later fails there.
    ///
    /// # Errors
    /// As [`hear`](Channel::hear): `UnexpectedEof` if no whole message had come.
    pub async fn hear_the_last(self) -> io::Result<Vec<u8>> {
        let stream = self.stream.into_std()?;
        stream.shutdown(Shutdown::Read)?;
        Channel::new(UnixStream::from_std(stream)?).hear().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as Pair;

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().expect("a pair");
        (Channel::new(a), Channel::new(b))
    }

    #[tokio::test]
    async fn messages_and_descriptors_arrive_in_order_however_many() {
        let (mut a, mut b) = pair();
        let (mut near, far) = Pair::pair().expect("a pair");
        let many: Vec<OwnedFd> = (0..300).map(|_| far.try_clone().expect("room").into()).collect();
        let sending = async {
            a.say(b"300 come").await.expect("said");
            a.pass(&many).await.expect("passed");
            a.say(b"that was all").await.expect("said");
        };
        let hearing = async {
            assert_eq!(b.hear().await.expect("heard"), b"300 come");
            let taken = b.take(300).await.expect("taken");
            assert_eq!(b.hear().await.expect("heard"), b"that was all");
            taken
        };
        let ((), mut taken) = tokio::join!(sending, hearing);
        assert_eq!(taken.len(), 300);
        let mut last = Pair::from(taken.pop().expect("300 of them"));
        last.write_all(b"x").expect("the same socket");
        let mut byte = [0];
        near.read_exact(&mut byte).expect("it comes");
        assert_eq!(byte, *b"x");
    }

    #[tokio::test]
    async fn whoever_is_gone_is_noticed() {
        let (a, mut b) = pair();
        drop(a);
        assert_eq!(b.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(b.take(1).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn other_than_what_was_announced_is_refused() {
        let (mut a, mut b) = pair();
        let (one, _other) = Pair::pair().expect("a pair");
        a.pass(&[one.into()]).await.expect("passed");
        assert_eq!(b.take(2).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (mut a, mut b) = pair();
        a.say(b"no descriptors").await.expect("said");
        assert_eq!(b.take(1).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (mut a, mut b) = pair();
        a.stream.write_all(&[255; 8]).await.expect("said");
        assert_eq!(b.hear().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn after_the_last_word_whatever_is_said_fails_where_it_is_said() {
        let (mut a, b) = pair();
        a.say(b"in time").await.expect("said");
        assert_eq!(b.hear_the_last().await.expect("heard"), b"in time");
        let (mut a, b) = pair();
        assert_eq!(b.hear_the_last().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(a.say(b"too late").await.is_err());
    }
}
