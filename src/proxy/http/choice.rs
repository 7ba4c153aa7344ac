//! Who is asked next, and what is the client told if nobody can be?

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::affinity;
use super::reply::Reply;
use super::request::Exchange;
use super::variables::Scope;
use crate::balancer::{self, ip_hash_key};
use crate::topology::{self, Ask, Group, Lease, Local, Nobody, Refused, Tried, acquire};

/// Why there is no lease.
pub enum Unleased {
    /// The client left while it waited.
    Left,
    /// The call's deadline passed while it waited.
    Late,
    /// There is nobody.
    Nobody(Nobody),
}

impl Exchange<'_> {
    /// A peer for the next attempt, from the present snapshot, if there is one at once. If there is none, why; `None`: waiting may
    /// help.
    pub fn lease(&mut self, tried: &Tried) -> Result<(Local<Group>, Lease), Option<Nobody>> {
        let now = self.conn.worker.now();
        let Some(group) = self.conn.worker.group(self.route.group) else {
            return Err(Some(Nobody::no_group()));
        };
        let mut key = std::mem::take(&mut self.s.key);
        key.clear();
        let scope = self.story.scope(self.conn, self.s, Some(self.route));
        key_of(&group, &scope, &mut key);
        self.hint = affinity::hint(&group, &scope, now);
        let leased = group.try_lease(&self.ask_with(&key, tried), now);
        self.s.key = key;
        match leased {
            Ok(lease) => Ok((group, lease)),
            Err(Refused::Nobody(nobody)) if self.is_present(&group) => Err(Some(nobody)),
            Err(_) => Err(None),
        }
    }

    fn ask_with<'t>(&self, key: &'t [u8], tried: &'t Tried) -> Ask<'t> {
        Ask { key, repeatable: self.is_repeatable(), tried, bound: self.hint.tag }
    }

    /// Whether a reload has not replaced the group in this moment: those who are gone by it would be nobody's fault.
    fn is_present(&self, group: &Local<Group>) -> bool {
        self.conn.worker.group(self.route.group).is_some_and(|present| present.is(group))
    }

    /// The same when there was none: waits where the group's rules say so.
    pub async fn lease_later(&mut self, tried: &Tried) -> Result<(Local<Group>, Lease), Unleased> {
        let began = self.conn.worker.now();
        let key = std::mem::take(&mut self.s.key);
        let ask = self.ask_with(&key, tried);
        let leased = self.wait(&ask).await;
        self.s.key = key;
        *self.story.queue_time.get_or_insert_default() += self.conn.worker.now().since(began);
        leased
    }

    async fn wait(&mut self, ask: &Ask<'_>) -> Result<(Local<Group>, Lease), Unleased> {
        let worker = self.conn.worker.clone();
        let present = || worker.group(self.route.group);
        let mut waiting = pin!(acquire(present, ask, &worker.clock));
        let (client, ahead, deadline) = (&mut self.conn.stream, &mut self.s.client_in, &mut self.conn.deadline);
        deadline.clear();
        let won = poll_fn(|cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(won) => Poll::Ready(won.map_err(Unleased::Nobody)),
            Poll::Pending if client.has_left(cx, ahead) => Poll::Ready(Err(Unleased::Left)),
            Poll::Pending => deadline.poll(cx).map(|()| Err(Unleased::Late)),
        })
        .await?;
        let group = present().ok_or_else(|| Unleased::Nobody(Nobody::no_group()))?;
        Ok((group, won))
    }
}

fn key_of(group: &Group, scope: &Scope<'_>, key: &mut Vec<u8>) {
    match (&group.config.method, &group.config.key) {
        (balancer::Method::IpHash, _) => match scope.address.ip() {
            Some(ip) => key.extend_from_slice(&ip_hash_key(ip)),
            // All of them are one client, as in nginx.
            None => key.extend_from_slice(&[0; 3]),
        },
        (_, Some(template)) => scope.append(template, key),
        (_, None) => {}
    }
}

/// What the client is told when nobody could be asked.
pub fn nobody_reply(nobody: &Nobody) -> Reply {
    use topology::Why;
    let text = match nobody.why {
        Why::NoPeers => "no upstream server is known yet",
        Why::Full | Why::QueueFull | Why::QueueTimeout => "all upstream servers are busy",
        Why::Unavailable | Why::AllTried => "no upstream server is available",
    };
    Reply { retry_after: Some(Duration::from_secs(nobody.retry_after)), ..Reply::new(503, text) }
}
