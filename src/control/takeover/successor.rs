//! What does a weir do that follows another? It asks for the sockets, looks around before it accepts, and says so.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::health::Outlook;
use super::{Hello, Offer, PROMPT, Ready, Sockets, VERSION, Verdict, hear, parse, say};
use crate::clock::{Clock, Timestamp};
use crate::control::{Announcer, Publisher, Request};
use crate::endpoint::Place;
use crate::net::descriptors::Channel;
use crate::net::folder_lock::FolderLock;
use crate::net::inherited::Lot;
use crate::topology::Live;

/// How often a successor looks whether its peers are known.
const LOOK: Duration = Duration::from_millis(20);

/// A successor that has its predecessor's sockets, and has not accepted yet.
pub struct Successor {
    channel: Channel,
    offered: Box<Sockets>,
    lots: Vec<Lot>,
}

/// How the conversation ended, once the successor accepts.
#[derive(Debug)]
enum End {
    /// The sockets are this process's. If operators have changed something meanwhile, all that they have changed.
    Succeeded(Option<Value>),
    /// The predecessor is gone; this process is the only one.
    Alone,
    /// The predecessor goes on: this process must end. In words.
    Refused(String),
}

impl Successor {
    /// Asks the weir that answers at `path` for its sockets. `None`: nobody does.
    ///
    /// # Errors
    /// It refuses, is silent, or is not to be trusted; in words.
    pub async fn follow(path: &Path) -> Result<Option<Successor>, String> {
        let shown = path.display();
        let asked = Successor::ask(path).await.map_err(|why| format!("the weir at {shown}: {why}"))?;
        match &asked {
            Some(successor) => {
                let pid = successor.channel.peer().ok().and_then(|(_, pid)| pid);
                let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                tracing::info!("taking over from the weir at {shown}{who}");
            }
            None => tracing::info!("no weir to take over from at {shown}: starting as usual"),
        }
        Ok(asked)
    }

    async fn ask(path: &Path) -> Result<Option<Successor>, String> {
        // One that is about to listen there refuses as a dead one does.
        drop(FolderLock::take(path));
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(format!("cannot ask: {error}")),
        };
        let mut channel = Channel::new(stream);
        let (uid, _) = channel.peer().map_err(|error| format!("nobody knows who answers: {error}"))?;
        let own = rustix::process::geteuid().as_raw();
        if uid != own {
            return Err(format!("it runs as user {uid}, and this one as user {own}"));
        }
        // One that is gone says why before.
        let _ = say(&mut channel, &Hello { version: VERSION }).await;
        let mut offered = match hear(&mut channel, PROMPT).await? {
            Offer::Sockets(sockets) => sockets,
            Offer::Refused(why) => return Err(format!("it refuses: {why}")),
        };
        let mut lots = Vec::with_capacity(offered.lots.len());
        for described in std::mem::take(&mut offered.lots) {
            let place =
                described.place.parse::<Place>().map_err(|_| "it names a place that there is not".to_owned())?;
            let taken = tokio::time::timeout(PROMPT, channel.take(described.count)).await;
            let taken = taken.map_err(|_| "it passes no sockets".to_owned())?;
            let sockets = taken.map_err(|error| format!("it passes no sockets: {error}"))?;
            if !sockets.is_empty() {
                let lot = Lot::new(Some(place), sockets, described.file);
                lots.push(lot.map_err(|error| format!("it passes a socket that is none: {error}"))?);
            }
        }
        Ok(Some(Successor { channel, offered, lots }))
    }

    /// The sockets, once.
    pub fn take_lots(&mut self) -> Vec<Lot> {
        std::mem::take(&mut self.lots)
    }

    /// What operators have changed, as in the state file.
    pub fn adjustments(&self) -> &Value {
        &self.offered.adjustments
    }

    /// What `sticky` goes by where the configuration says none.
    pub fn secret(&self) -> &[u8] {
        &self.offered.secret
    }

    /// Waits until this process knows its peers well enough to accept, while somebody else applies changes.
    ///
    /// # Errors
    /// Groups that could serve before cannot here; in words.
    pub async fn look_around(&self, live: &Live, announcer: &Announcer) -> Result<(), String> {
        let clock = Clock::process();
        let began: Timestamp = clock.now();
        let known = &self.offered.health;
        loop {
            let now = clock.now();
            match known.outlook(&live.load(), now.since(began), now) {
                Outlook::Clear => break,
                Outlook::Unclear => tokio::time::sleep(LOOK).await,
                Outlook::Worse(groups) => {
                    let groups = groups.join(", ");
                    return Err(format!("no peer is well here of {groups}, where one is in the weir that runs"));
                }
            }
        }
        let transitions = known.tell(&live.load(), clock.now());
        transitions.iter().for_each(|changed| announcer.transition(changed));
        Ok(())
    }

    /// Tells the predecessor that this process accepts, at these places.
    ///
    /// # Errors
    /// The predecessor goes on; in words.
    pub async fn take_over(
        self,
        places: &[Place],
        publisher: &mut Publisher,
        requests: &mut mpsc::UnboundedReceiver<Request>,
    ) -> Result<(), String> {
        let end = tokio::select! {
            end = self.ready(places) => end,
            () = publisher.run(requests) => return Err("this process is at its end".to_owned()),
        };
        match end {
            End::Succeeded(adjustments) => {
                adjustments.iter().for_each(|adjustments| publisher.inherit(adjustments));
                tracing::info!("the weir that ran has handed over {} addresses", places.len());
            }
            End::Alone => tracing::warn!("the weir that ran is gone without a word: this one goes on alone"),
            End::Refused(why) => return Err(format!("the weir that runs: {why}")),
        }
        Ok(())
    }

    /// Says that this process accepts, and hears what becomes of that.
    async fn ready(mut self, places: &[Place]) -> End {
        let ready = Ready { places: places.iter().map(ToString::to_string).collect() };
        let said = say(&mut self.channel, &ready).await;
        let heard = tokio::time::timeout(PROMPT, self.channel.hear()).await;
        let verdict = match heard {
            Ok(Ok(bytes)) => parse(&bytes),
            // It says why before it goes, unless it cannot.
            Ok(Err(_)) => return End::Alone,
            Err(_) if said.is_err() => return End::Alone,
            // From here on it cannot say it any more, so that both cannot believe different things.
            Err(_) => match self.channel.hear_the_last().await {
                Ok(bytes) => return ended(parse(&bytes)),
                Err(_) => return End::Refused(format!("it was silent for {PROMPT:?}")),
            },
        };
        let end = ended(verdict);
        if matches!(end, End::Succeeded(_)) {
            // Whatever keeps it from closing, the sockets are ours.
            let _ = tokio::time::timeout(PROMPT, self.channel.closed()).await;
        }
        end
    }
}

fn ended(verdict: Result<Verdict, String>) -> End {
    match verdict {
        Ok(Verdict::Yours(adjustments)) => End::Succeeded(adjustments),
        Ok(Verdict::Refused(why)) => End::Refused(why),
        Err(why) => End::Refused(why),
    }
}
