//! What does the admin listener stand on? The present snapshot, and the two who may change it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::listener::Visitor;
use crate::clock::{Clock, Timestamp};
use crate::control::Request;
use crate::control::operator::Hand;
use crate::control::reload::Reloader;
use crate::topology::{Adjustment, Applied, Change, Live, Topology};

/// What every handler gets.
#[derive(Clone)]
pub struct Desk {
    live: Arc<Live>,
    requests: mpsc::UnboundedSender<Request>,
    reloader: Option<Reloader>,
}

/// The longest name of who pulls a lever, and the longest reason, in characters.
const LONGEST: usize = 200;

impl Desk {
    /// Reads `live`, and changes it through `requests`; `reloader` reads the file again, if weir has one.
    pub fn new(live: Arc<Live>, requests: mpsc::UnboundedSender<Request>, reloader: Option<Reloader>) -> Desk {
        Desk { live, requests, reloader }
    }

    /// The present snapshot.
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.live.load()
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        Clock::process().now()
    }

    /// Who reads the file; `Err`: there is none.
    pub(super) fn reloader(&self) -> Result<&Reloader, Failure> {
        let text = "this weir runs without a file: there is nothing to read again";
        self.reloader.as_ref().ok_or_else(|| Failure::conflict("NoFile", text))
    }

    /// Puts an operator's steps in force, and waits until they are.
    pub(super) async fn adjust(&self, steps: Vec<Adjustment>) -> Result<(), Failure> {
        self.change(Change::Adjust(steps)).await.map(|_| ())
    }

    async fn change(&self, change: Change) -> Result<Applied, Failure> {
        let (done, result) = oneshot::channel();
        self.requests.send(Request { change, done: Some(done) }).map_err(|_| Failure::stopping())?;
        let result = result.await.map_err(|_| Failure::stopping())?;
        result.map_err(|why| Failure::conflict("Refused", why))
    }

    /// Whose hand is on a lever: who they say they are, else what is known of the connection.
    pub(super) fn hand(
        &self,
        visitor: &Visitor,
        by: Option<&str>,
        reason: Option<&str>,
        lasts: Option<Duration>,
    ) -> Hand {
        let short = |text: &str| text.trim().chars().take(LONGEST).collect::<String>();
        let by = match (by.map(short).filter(|by| !by.is_empty()), visitor) {
            (Some(by), _) => by.into(),
            (None, Visitor::Owner(name)) => name.clone(),
            (None, Visitor::Stranger) => "the token".into(),
        };
        let reason = reason.map(short).filter(|reason| !reason.is_empty()).map(Into::into);
        Hand { by, reason, lasts }
    }
}
