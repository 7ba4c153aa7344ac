//! What must a client say before its bytes are passed on? A PROXY header and a handshake, where the listener wants them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::session::Session;
use crate::net::handshake::Opening;
use crate::proxy::handshake::{self, Handshake};
use crate::proxy::introduction;
use crate::tls::Acceptor;

/// How long a PROXY header may take (nginx: `proxy_protocol_timeout`).
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a handshake may take (nginx: `ssl_handshake_timeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a client does not get in. The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There was nobody, or nobody who could be believed: that is no session.
    Unknown,
    /// Its handshake failed, or it has no certificate that the listener demands.
    Tls,
}

impl Session {
    /// Whatever the listener wants first.
    ///
    /// # Errors
    /// Why the client is not served. The log has been told.
    pub(super) async fn enter(&mut self) -> Result<(), Refused> {
        let route = Arc::clone(&self.course.route);
        if route.proxy_protocol {
            self.introduce().await?;
        }
        match &route.acceptor {
            Some(acceptor) => self.secure(acceptor).await,
            None => Ok(()),
        }
    }

    /// The addresses of the PROXY header are those of the client.
    async fn introduce(&mut self) -> Result<(), Refused> {
        let Session { worker, client, deadline, course, .. } = self;
        let ends = (course.client, &course.route.listener);
        let read = introduction::read(worker, client, deadline, ends, HEADER_TIMEOUT).await;
        if let Some(addresses) = read.ok_or(Refused::Unknown)? {
            self.course.client = addresses.source.into();
            self.story.client = addresses.source.into();
            self.local = addresses.destination.into();
        }
        Ok(())
    }

    async fn secure(&mut self, acceptor: &Arc<Acceptor>) -> Result<(), Refused> {
        let Session { worker, client, deadline, course, .. } = self;
        let remote = course.client;
        let began = worker.now();
        deadline.set(began, HANDSHAKE_TIMEOUT);
        let mut handshake = Handshake::default();
        let end = poll_fn(|cx| {
            if let Poll::Ready(end) = handshake.poll(client, cx, |_| Some(acceptor)) {
                return Poll::Ready(Some(end));
            }
            if worker.is_draining() {
                let (from, limit) = worker.last_call(began);
                deadline.tighten(from, limit);
            }
            deadline.poll(cx).map(|()| None)
        })
        .await;
        let why = match end {
            Some(Ok(Opening::Nothing)) => return Err(Refused::Unknown),
            Some(Ok(Opening::Plain)) => "it does not speak TLS".to_owned(),
            Some(Ok(Opening::Tls)) => {
                let verdict = handshake.settle(client).map(|(facts, _)| facts.client).unwrap_or_default();
                match handshake::refusal(acceptor.clients(), &verdict) {
                    None => return Ok(()),
                    Some(why) => why.to_owned(),
                }
            }
            Some(Err(error)) => error.to_string(),
            None => "the handshake took too long".to_owned(),
        };
        tracing::debug!("no TLS with {remote}: {why}");
        Err(Refused::Tls)
    }
}
