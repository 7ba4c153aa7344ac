//! Who wants to be the successor, and may they? The side of the weir that runs.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::health::Known;
use super::{Described, Hello, Offer, PROMPT, Ready, Sockets, VERSION, Verdict, hear, say};
use crate::clock::{Clock, Moment};
use crate::control::remember;
use crate::endpoint::Place;
use crate::net::Held;
use crate::net::descriptors::Channel;
use crate::net::socket_file::SocketFile;
use crate::shutdown::Shutdown;
use crate::topology::{Adjustments, Live};

/// How long a successor may take until it accepts: more than it gives itself.
const START: Duration = Duration::from_secs(30);
/// How many successors may wait to be told that there is one already.
const BACKLOG: i32 = 8;

/// What is handed over, and who hears that it was.
pub struct Predecessor {
    /// The snapshot.
    pub live: Arc<Live>,
    /// The sockets.
    pub held: Rc<Held>,
    /// What `sticky` goes by where the configuration says none.
    pub secret: Arc<[u8]>,
    /// Stopping, nobody can be succeeded any more.
    pub shutdown: Shutdown,
    /// Told once.
    pub done: mpsc::Sender<Succession>,
    /// Where successors ask now, for SIGUSR2.
    pub place: watch::Sender<Option<PathBuf>>,
}

/// The sockets are another process's.
pub struct Succession {
    /// It.
    pub pid: Option<u32>,
    /// What it listens on from now on. The rest nobody does.
    pub places: Vec<Place>,
    /// Dropped, it tells the successor that this process has let go.
    pub letting_go: Channel,
}

/// The socket that successors ask at. Its file goes when this is dropped.
struct Door {
    // First: a file at which nobody listens is anybody's to replace.
    #[expect(dead_code, reason = "held for its end")]
    file: SocketFile,
    listener: UnixListener,
}

impl Door {
    fn open(path: &Path) -> io::Result<Door> {
        let (listener, file) = SocketFile::listen_privately(path, BACKLOG)?;
        Ok(Door { file, listener: UnixListener::from_std(listener)? })
    }
}

impl Predecessor {
    /// Answers successors where the configuration in force says, until one has the sockets, or weir stops.
    pub async fn run(mut self, mut version: watch::Receiver<u64>) {
        let mut wanted: Option<Option<PathBuf>> = None;
        let mut door = None;
        loop {
            let now = self.live.load().config().takeover.clone();
            if wanted.as_ref() != Some(&now) {
                door = now.as_deref().and_then(|path| match Door::open(path) {
                    Ok(door) => Some(door),
                    Err(error) => {
                        let why = match error.kind() {
                            io::ErrorKind::AddrInUse => "another weir answers there".to_owned(),
                            _ => error.to_string(),
                        };
                        tracing::info!("no successor can take over at {}: {why}", path.display());
                        None
                    }
                });
                self.place.send_replace(door.as_ref().and(now.clone()));
                wanted = Some(now);
            }
            let mut ending = self.shutdown.clone();
            let asked = tokio::select! {
                () = ending.begun() => break,
                changed = version.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                asked = accept(door.as_ref()) => asked,
            };
            if let Some(succession) = self.answer(Channel::new(asked), door.as_ref()).await {
                // Nobody else may ask here: the successor listens here next.
                drop(door);
                self.place.send_replace(None);
                // Gone, the process ends anyway.
                let _ = self.done.send(succession).await;
                return;
            }
        }
        self.place.send_replace(None);
    }

    /// Talks to one; others hear meanwhile that there is one.
    async fn answer(&mut self, mut channel: Channel, door: Option<&Door>) -> Option<Succession> {
        let mut ending = self.shutdown.clone();
        let result = tokio::select! {
            // What was said holds, even if the end begins in the same moment.
            biased;
            result = self.hand_over(&mut channel) => result,
            () = turn_away(door) => return None,
            () = ending.begun() => {
                // It may be gone by now.
                let _ = say(&mut channel, &Verdict::Refused("it is stopping".to_owned())).await;
                return None;
            }
        };
        match result {
            Ok((pid, places)) => Some(Succession { pid, places, letting_go: channel }),
            Err(why) => {
                tracing::warn!("no takeover: {why}; this weir goes on");
                None
            }
        }
    }

    /// The whole conversation. An error, in words, changes nothing.
    async fn hand_over(&self, channel: &mut Channel) -> Result<(Option<u32>, Vec<Place>), String> {
        let (uid, pid) = channel.peer().map_err(|error| format!("nobody knows who asks: {error}"))?;
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        let who = pid.map_or("somebody".to_owned(), |pid| format!("process {pid}"));
        let of_them = |why: String| format!("{who}: {why}");
        let refuse = async |channel: &mut Channel, why: &str| {
            // It may be gone by now.
            let _ = say(channel, &Offer::Refused(why.to_owned())).await;
            of_them(format!("refused: {why}"))
        };
        if let Err(why) = may_succeed(uid, rustix::process::geteuid().as_raw()) {
            return Err(refuse(channel, &why).await);
        }
        let hello: Hello = hear(channel, PROMPT).await.map_err(of_them)?;
        if hello.version != VERSION {
            let why = format!("it speaks version {} of the takeover, and this weir {VERSION}", hello.version);
            return Err(refuse(channel, &why).await);
        }
        let lent = self.held.lend().map_err(|error| of_them(format!("no room for descriptors: {error}")))?;
        let topology = self.live.load();
        let offered = topology.adjustments().clone();
        let describe = |lent: &crate::net::held::Lent| Described {
            place: lent.place.to_string(),
            count: lent.sockets.len(),
            file: lent.file,
        };
        let sockets = Sockets {
            lots: lent.iter().map(describe).collect(),
            adjustments: written(&offered),
            secret: self.secret.to_vec(),
            health: Known::of(&topology, Clock::process().now()),
        };
        drop(topology);
        tracing::info!("{who} wants to take over");
        let pass = async {
            say(channel, &Offer::Sockets(Box::new(sockets))).await?;
            for lent in &lent {
                channel.pass(&lent.sockets).await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        };
        let passed = tokio::time::timeout(PROMPT, pass).await;
        passed.unwrap_or_else(|_| Err("it does not take the sockets".to_owned())).map_err(of_them)?;
        drop(lent);

        let ready: Ready = hear(channel, START).await.map_err(|why| of_them(format!("it never accepted: {why}")))?;
        let places: Result<Vec<Place>, _> = ready.places.iter().map(|place| place.parse()).collect();
        let places = places.map_err(|_| of_them("it names places that there are not".to_owned()))?;
        let topology = self.live.load();
        let now = topology.adjustments();
        let verdict = Verdict::Yours((*now != offered).then(|| written(now)));
        // Said, it holds: the successor takes nothing that it does not hear.
        say(channel, &verdict).await.map_err(of_them)?;
        Ok((pid, places))
    }
}

/// The same user alone: not even root, which would make a service of its own user another's.
fn may_succeed(uid: u32, own: u32) -> Result<(), String> {
    match uid == own {
        true => Ok(()),
        false => Err(format!("it runs as user {uid}, and this weir as user {own}")),
    }
}

fn written(adjustments: &Adjustments) -> serde_json::Value {
    remember::written(adjustments, Moment::present())
}

/// The next who asks.
async fn accept(door: Option<&Door>) -> UnixStream {
    loop {
        let Some(door) = door else { return std::future::pending().await };
        match door.listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!("takeover: cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Tells whoever asks now that somebody else does.
async fn turn_away(door: Option<&Door>) {
    loop {
        let mut channel = Channel::new(accept(door).await);
        let refused = Offer::Refused("another takeover is under way".to_owned());
        // Who does not listen misses it.
        let _ = tokio::time::timeout(Duration::from_secs(1), say(&mut channel, &refused)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_succeeds() {
        assert_eq!(may_succeed(65_532, 65_532), Ok(()));
        assert_eq!(may_succeed(0, 65_532), Err("it runs as user 0, and this weir as user 65532".to_owned()));
        assert!(may_succeed(1000, 0).is_err());
    }
}
