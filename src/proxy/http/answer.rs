//! How does an answer of weir's own reach the client?

use std::future::poll_fn;
use std::io::IoSlice;
use std::task::Poll;
use std::time::Duration;

use super::body::ClientEnd;
use super::connection::{After, Connection};
use super::grpc;
use super::reply::Reply;
use super::scratch::Scratch;
use super::story::Story;
use crate::http1::{FieldSection, Method};

/// How long a client may take to read an answer of weir's own.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Sends an answer of weir's own, behind what waits in `Scratch::to_client` (the rest of an interim answer). Unless
/// `keep`, the connection ends with it.
pub async fn answer(conn: &mut Connection, s: &mut Scratch, story: &mut Story, reply: Reply, keep: bool) -> After {
    let bare = s.request.method_kind() == Method::Head;
    story.status = reply.status;
    if conn.stream.is_http2() && grpc::is_call(&s.request) {
        grpc::write_reply(&mut s.to_client, &reply);
    } else {
        story.body_sent = reply.write(&mut s.to_client, s.request.version(), keep, bare, story.hsts.as_deref());
    }
    story.sent = s.to_client.len() as u64;
    match write_whole(conn, s, ANSWER_TIME, story.body_sent).await {
        Ok(()) if keep => After::KeepAlive,
        Ok(()) => After::Linger,
        Err(_) => After::Reset,
    }
}

/// Writes the whole answer that is in `Scratch::to_client`, within `limit`. `body`: how many bytes follow its head.
pub async fn write_whole(conn: &mut Connection, s: &mut Scratch, limit: Duration, body: u64) -> Result<(), ClientEnd> {
    conn.stream.announce(body == 0);
    write_all(conn, s, limit).await?;
    conn.stream.finish(&FieldSection::default());
    Ok(())
}

/// Writes what is in `Scratch::to_client`, within `limit`.
pub async fn write_all(conn: &mut Connection, s: &mut Scratch, limit: Duration) -> Result<(), ClientEnd> {
    conn.deadline.set(conn.worker.now(), limit);
    let mut at = 0;
    let end = poll_fn(|cx| {
        while at < s.to_client.len() {
            match conn.stream.poll_write(cx, &[IoSlice::new(&s.to_client[at..])]) {
                Poll::Ready(Ok(n)) => at += n,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ClientEnd::Gone)),
                Poll::Pending => return conn.deadline.poll(cx).map(|()| Err(ClientEnd::TimedOut)),
            }
        }
        // Whoever closes next must not leave anything behind.
        match conn.stream.poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| ClientEnd::Gone)),
            Poll::Pending => conn.deadline.poll(cx).map(|()| Err(ClientEnd::TimedOut)),
        }
    })
    .await;
    s.to_client.clear();
    end
}
