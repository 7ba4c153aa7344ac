//! How does an answer of weir's own reach the client?

use std::future::poll_fn;
use std::io::IoSlice;
use std::task::Poll;
use std::time::Duration;

use super::body::ClientEnd;
use super::connection::{After, Connection};
use super::reply::Reply;
use super::scratch::Scratch;
use super::story::Story;
use crate::http1::Method;

/// How long a client may take to read an answer of weir's own.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Sends an answer of weir's own, behind what waits in `Scratch::to_client` (the rest of an interim answer). Unless
/// `keep`, the connection ends with it.
pub async fn answer(conn: &mut Connection, s: &mut Scratch, story: &mut Story, reply: Reply, keep: bool) -> After {
    let bare = s.request.method_kind() == Method::Head;
    story.status = reply.status;
    story.body_sent = reply.write(&mut s.to_client, s.request.version(), keep, bare);
    story.sent = s.to_client.len() as u64;
    match write_all(conn, s, ANSWER_TIME).await {
        Ok(()) if keep => After::KeepAlive,
        Ok(()) => After::Linger,
        Err(_) => After::Reset,
    }
}

/// Writes what is in `Scratch::to_client`, within `limit`.
pub async fn write_all(conn: &mut Connection, s: &mut Scratch, limit: Duration) -> Result<(), ClientEnd> {
    conn.deadline.set(conn.worker.now(), limit);
    let mut at = 0;
    let end = poll_fn(|cx| {
        while at < s.to_client.len() {
            match conn.stream.poll_write_vectored(cx, &[IoSlice::new(&s.to_client[at..])]) {
                Poll::Ready(Ok(n)) => at += n,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ClientEnd::Gone)),
                Poll::Pending => return conn.deadline.poll(cx).map(|()| Err(ClientEnd::TimedOut)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await;
    s.to_client.clear();
    end
}
