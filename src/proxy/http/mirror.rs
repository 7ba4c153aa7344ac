//! Who else sees this request? A copy of it goes to another group, whose answer nobody waits for. (nginx:
//! `ngx_http_mirror_module`, which makes its client's next request wait for the mirror.)
//!
//! A copy is an exchange like every other, with the same peers' health, time-outs and connections, but its client is this
//! process: the other end of its socket is read and thrown away.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::affinity::Hint;
use super::body::Body;
use super::connection::{Client, Connection};
use super::headers;
use super::request::Exchange;
use super::scratch::Scratch;
use super::side::Side;
use super::story::Story;
use crate::net::{Buffer, Deadline, Stream};
use crate::proxy::worker::{Seat, Worker};
use crate::shape::{Copied, Mirrors};
use crate::topology::Route;

impl Exchange<'_> {
    /// Begins a copy of the request, if its turn has come. Its body must be whole: what is streamed is not copied.
    pub fn mirror(&self) {
        let Some(mirror) = &self.route.mirror else { return };
        if headers::upgrade(&self.s.request).is_some() || !mirror.mirrors.is_due() {
            return;
        }
        if !self.body.complete {
            return self.drop_copy(&mirror.mirrors, "its body is longer than client_body_buffer_size");
        }
        let Some(copied) = mirror.mirrors.enter() else {
            return self.drop_copy(&mirror.mirrors, "as many as `max` allows are under way");
        };
        let worker = &self.conn.worker;
        match Stream::pair() {
            Ok((client, sink)) => {
                // One name for both.
                self.story.id.get();
                let story = Story { id: self.story.id.clone(), ..Story::new(worker.now(), self.story.address) };
                let copy = Copy {
                    seat: worker.seat(),
                    client,
                    sink,
                    of: self.conn.client.clone(),
                    scratch: self.copied_scratch(),
                    body: Body { complete: true, received: self.body.received, ..Body::new(self.body.framing, 0) },
                    story,
                    route: Arc::clone(&mirror.route),
                    timeout: mirror.timeout,
                    _copied: copied,
                };
                tokio::task::spawn_local(copy.run());
            }
            Err(error) => self.drop_copy(&mirror.mirrors, &format!("there is no socket for it: {error}")),
        }
    }

    fn drop_copy(&self, mirrors: &Mirrors, why: &str) {
        mirrors.drop_one();
        if let Some(untold) = mirrors.notices.note(self.conn.worker.now()) {
            let name = &self.route.group_name;
            let more = if untold == 0 { String::new() } else { format!(", nor were {untold} others") };
            tracing::warn!("a request to {name} was not mirrored: {why}{more} ({} in all)", mirrors.dropped());
        }
    }

    /// What of the request a copy needs.
    fn copied_scratch(&self) -> Box<Scratch> {
        let mut copy = self.conn.worker.spare.borrow_mut().take();
        copy.request.clone_from(&self.s.request);
        copy.gathered.clone_from(&self.s.gathered);
        copy.target.clone_from(&self.s.target);
        copy.path.clone_from(&self.s.path);
        copy.attempts.clear();
        copy
    }
}

/// A copy of a request, with the client it has.
struct Copy {
    seat: Seat,
    client: Stream,
    sink: Stream,
    /// Whose request it was.
    of: Client,
    scratch: Box<Scratch>,
    body: Body,
    story: Story,
    route: Arc<Route>,
    timeout: Duration,
    _copied: Copied,
}

impl Copy {
    /// Sends it, and throws the answer away. When weir stops it is given up, and blames nobody.
    async fn run(self) {
        let Copy { seat, client, mut sink, of, mut scratch, body, mut story, route, timeout, _copied } = self;
        let (worker, slot) = (Rc::clone(&seat.worker), Rc::clone(&seat.slot));
        let mut end = Deadline::new();
        end.set(worker.clock.now(), timeout.saturating_mul(2));
        let mut conn = Connection {
            stream: Side::Http1(client),
            deadline: Deadline::new(),
            client: of,
            requests: 1,
            keepalive_timeout: Duration::ZERO,
            expects_header: false,
            route: None,
            told: None,
            worker: Rc::clone(&worker),
            seat,
        };
        {
            // A copy goes nowhere else.
            let moved = OnceCell::from(Arc::clone(&route));
            let mut exchange = Exchange {
                conn: &mut conn,
                s: &mut scratch,
                story: &mut story,
                route: &route,
                moved: &moved,
                body,
                interim: false,
                hint: Hint::default(),
            };
            let mut running = pin!(exchange.run());
            let mut thrown_away = Buffer::default();
            poll_fn(|cx| {
                worker.begin_turn(&slot, cx.waker());
                if running.as_mut().poll(cx).is_ready() || worker.is_draining() {
                    return Poll::Ready(());
                }
                throw_away(&mut sink, &mut thrown_away, cx);
                end.poll(cx)
            })
            .await;
        }
        tell(&worker, &route, &story);
        worker.spare.borrow_mut().put(scratch);
    }
}

/// Reads all there is.
fn throw_away(sink: &mut Stream, buffer: &mut Buffer, cx: &mut Context<'_>) {
    loop {
        buffer.clear();
        match buffer.poll_fill(sink, cx, Buffer::STREAMING) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(_) | Poll::Pending => return,
        }
    }
}

fn tell(worker: &Worker, route: &Route, story: &Story) {
    let took = worker.clock.now().since(story.began);
    tracing::debug!("a copy for {} ended with {} after {took:?}", route.group_name, story.status);
}
