//! Does a client speak TLS as it should? The handshake at the beginning of its connection, and what that has brought out.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::UnixTime;

use crate::clock;
use crate::net::Stream;
use crate::net::handshake::{self, Accepting, HandshakeError, Opening};
use crate::tls::{Acceptor, ClientPolicy, ClientVerdict, Facts, VerifyClient};

/// A handshake under way.
#[derive(Default)]
pub struct Handshake {
    /// `None`: the client has not said a byte.
    accepting: Option<Accepting>,
    /// What was chosen by the name that the client asked for.
    acceptor: Option<Arc<Acceptor>>,
}

impl Handshake {
    /// Goes on. `choose` knows who answers to a name (SNI, empty if the client asks for none). Ready with what the client has
    /// begun with: only with [`Opening::Tls`] is the stream one of content.
    ///
    /// # Errors
    /// The socket's, or why the two sides do not agree.
    pub fn poll<'a>(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        choose: impl FnOnce(&str) -> Option<&'a Arc<Acceptor>>,
    ) -> Poll<Result<Opening, HandshakeError>> {
        if self.accepting.is_none() {
            match ready!(handshake::poll_opening(stream, cx))? {
                Opening::Tls => self.accepting = Some(Accepting::default()),
                other => return Poll::Ready(Ok(other)),
            }
        }
        let Handshake { accepting, acceptor } = self;
        let Some(accepting) = accepting else { return Poll::Pending };
        let choose = |name: Option<&str>| {
            let chosen = choose(name.unwrap_or_default())?;
            *acceptor = Some(Arc::clone(chosen));
            Some(Arc::clone(chosen.config()))
        };
        accepting.poll(stream, cx, choose).map_ok(|()| Opening::Tls)
    }

    /// What has come out, and whose handshake it was; `None`: it is not over.
    pub fn settle(self, stream: &Stream) -> Option<(Facts, Arc<Acceptor>)> {
        let (Some(acceptor), Some(rustls::Connection::Server(tls))) = (self.acceptor, stream.tls()) else {
            return None;
        };
        let now = UnixTime::since_unix_epoch(clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default());
        let verdict = acceptor.judge(tls.peer_certificates(), now);
        Some((Facts::of(tls, tls.server_name(), verdict), acceptor))
    }
}

/// Why a client with this certificate is not served; `None`: it may be. (nginx's 495 and 496)
pub fn refusal(policy: &ClientPolicy, verdict: &ClientVerdict) -> Option<&'static str> {
    match (policy.verify, verdict) {
        (VerifyClient::Off, _) | (_, ClientVerdict::Success) | (VerifyClient::Optional, ClientVerdict::None) => None,
        (VerifyClient::On, ClientVerdict::None) => Some("no required SSL certificate was sent"),
        (_, ClientVerdict::Failed(_)) => Some("the SSL certificate error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_owes_depends_on_what_the_server_demands() {
        use ClientVerdict::{Failed, None, Success};
        use VerifyClient::{Off, On, Optional};
        let table = [
            (Off, None, ""),
            (Optional, None, ""),
            (Optional, Success, ""),
            (Optional, Failed("expired".into()), "the SSL certificate error"),
            (On, Success, ""),
            (On, None, "no required SSL certificate was sent"),
            (On, Failed("expired".into()), "the SSL certificate error"),
        ];
        for (verify, verdict, words) in table {
            let policy = ClientPolicy { verify, authorities: Vec::new() };
            assert_eq!(refusal(&policy, &verdict).unwrap_or_default(), words, "{verify:?} {verdict:?}");
        }
    }
}
