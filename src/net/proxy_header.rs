//! A PROXY header on a connection: read off its front, or written before anything else.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWriteExt;

use super::Stream;
use crate::proxy_protocol::{self, Addresses, MAX_HEADER, Malformed, Progress};

/// Reads one header and not a byte more: what follows may be TLS.
#[derive(Debug, Default)]
pub struct HeaderReader {
    seen: Vec<u8>,
    /// How many bytes of `seen` the kernel still holds.
    owed: usize,
    /// What the header said, once it is whole.
    whole: Option<Option<Addresses>>,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection ended without a byte: somebody looked whether the port is open.
    #[error("the connection ended without a byte")]
    Nothing,
    /// It ended in the midst of the header.
    #[error("the connection ended within the PROXY header")]
    Cut,
    /// What came is none.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl HeaderReader {
    /// Ready with what the header says of the connection; `None`: its own addresses hold. The caller bounds the time.
    pub fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<Option<Addresses>, HeaderError>> {
        let mut bytes = [0; MAX_HEADER];
        loop {
            if self.owed > 0 {
                let taken = ready!(stream.poll_read(cx, &mut bytes[..self.owed]))?;
                if taken == 0 {
                    return Poll::Ready(Err(HeaderError::Cut));
                }
                self.owed -= taken;
                continue;
            }
            if let Some(addresses) = self.whole {
                return Poll::Ready(Ok(addresses));
            }
            // Peeked first: only what belongs to the header is taken.
            let room = MAX_HEADER.saturating_sub(self.seen.len());
            let peeked = ready!(stream.poll_peek(cx, &mut bytes[..room]))?;
            if peeked == 0 {
                let nothing = self.seen.is_empty();
                return Poll::Ready(Err(if nothing { HeaderError::Nothing } else { HeaderError::Cut }));
            }
            let before = self.seen.len();
            self.seen.extend_from_slice(&bytes[..peeked]);
            match proxy_protocol::parse(&self.seen)? {
                Progress::Partial => self.owed = peeked,
                Progress::Complete { consumed, addresses } => {
                    self.owed = consumed.saturating_sub(before);
                    self.whole = Some(addresses);
                }
            }
        }
    }
}

/// Writes a header. The caller bounds the time.
///
/// # Errors
/// Those of the connection.
pub async fn send(stream: &mut Stream, header: &[u8]) -> io::Result<()> {
    stream.write_all(header).await
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::UnixStream;

    use super::*;

    async fn read(stream: &mut Stream) -> Result<Option<Addresses>, HeaderError> {
        let mut reader = HeaderReader::default();
        poll_fn(|cx| reader.poll(cx, stream)).await
    }

    #[tokio::test]
    async fn a_header_is_taken_byte_by_byte_or_at_once_and_what_follows_is_left() {
        for step in [1, 7, 4096] {
            let (here, there) = UnixStream::pair().unwrap();
            let (mut sender, mut stream) = (Stream::unix(here), Stream::unix(there));
            let writing = async {
                for part in b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\nGET /".chunks(step) {
                    send(&mut sender, part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let ((), addresses) = tokio::join!(writing, read(&mut stream));
            assert_eq!(addresses.unwrap().unwrap().source, "192.0.2.1:4711".parse().unwrap());
            let mut left = [0; 16];
            let n = poll_fn(|cx| stream.poll_read(cx, &mut left)).await.unwrap();
            assert_eq!(&left[..n], b"GET /", "in steps of {step}");
        }
    }

    #[tokio::test]
    async fn an_end_before_the_header_is_told_apart_from_one_within() {
        for (sent, nothing) in [(&b""[..], true), (b"PROXY TC", false)] {
            let (here, there) = UnixStream::pair().unwrap();
            let (mut sender, mut stream) = (Stream::unix(here), Stream::unix(there));
            send(&mut sender, sent).await.unwrap();
            drop(sender);
            let error = read(&mut stream).await.unwrap_err();
            assert_eq!(matches!(error, HeaderError::Nothing), nothing, "{error}");
        }
    }
}
