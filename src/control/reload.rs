//! An edited file takes effect by itself; a bad one changes nothing and says why.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::publisher::Request;
use crate::config::{self, Env};
use crate::topology::{Applied, Change};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A file is read once it has not changed for this long: an editor may write it in pieces.
const SETTLE: Duration = Duration::from_millis(100);
/// However restless it is, it is read after so many looks.
const PATIENCE: u32 = 10;

/// Watches one configuration file.
pub struct Reload {
    path: PathBuf,
    requests: mpsc::UnboundedSender<Request>,
    seen: Stamp,
    text: Option<String>,
    hangup: Signal,
    warned_stale: bool,
}

/// What tells without reading that a file may have changed: of the file and of the `.env` beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp([Option<(u64, u64, u64, SystemTime)>; 2]);

impl Stamp {
    fn of(path: &Path) -> Stamp {
        let env = path.with_file_name(".env");
        Stamp([path, &env].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.len(), meta.modified().ok()?))
        }))
    }
}

impl Reload {
    /// Watches `path`, which has just been read. From here on SIGHUP is caught, which would else end the process.
    ///
    /// # Errors
    /// If the process may not have signal handlers.
    pub fn new(path: PathBuf, requests: mpsc::UnboundedSender<Request>) -> io::Result<Reload> {
        let (seen, text) = (Stamp::of(&path), contents(&path));
        Ok(Reload { path, requests, seen, text, hangup: signal(SignalKind::hangup())?, warned_stale: false })
    }

    /// Reads the file again whenever it changes, and at each SIGHUP.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => self.load(true).await,
                () = sleep(LOOK) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        self.warn_if_stale();
        let mut now = Stamp::of(&self.path);
        if now == self.seen {
            return;
        }
        for _ in 0..PATIENCE {
            sleep(SETTLE).await;
            let later = Stamp::of(&self.path);
            if later == now {
                break;
            }
            now = later;
        }
        self.seen = now;
        self.load(false).await;
    }

    /// Reads the file, and puts it in force if it is good. Unasked, only if it says something else than before.
    async fn load(&mut self, asked: bool) {
        let text = contents(&self.path);
        if !asked && text == self.text {
            return;
        }
        self.text = text;
        let shown = self.path.display();
        let loaded = match config::load(&self.path, &Env::beside(&self.path)) {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                diagnostics.print();
                return tracing::error!(
                    "{shown} is not used, for the {} errors above; the configuration in force stays",
                    diagnostics.errors()
                );
            }
        };
        loaded.warnings.print();
        let (done, result) = oneshot::channel();
        if self.requests.send(Request { change: Change::Config(Arc::new(loaded.config)), done: Some(done) }).is_err() {
            return;
        }
        match result.await {
            Ok(Ok(applied)) => tracing::info!("{shown} is in force: {}", summary(&applied)),
            Ok(Err(reason)) => tracing::error!("{shown} is not used: {reason}; the configuration in force stays"),
            Err(_) => {}
        }
    }

    /// A single file that is bind-mounted into a container stays the old one when an editor replaces it.
    fn warn_if_stale(&mut self) {
        let stale = std::fs::metadata(&self.path).is_ok_and(|meta| meta.nlink() == 0);
        if stale && !self.warned_stale {
            tracing::warn!(
                "{} was replaced outside of this container, which cannot see the new file: mount the folder, not the file",
                self.path.display()
            );
        }
        self.warned_stale = stale;
    }
}

/// The file and its `.env`, as one text; `None`: cannot be read.
fn contents(path: &Path) -> Option<String> {
    let env = std::fs::read_to_string(path.with_file_name(".env")).unwrap_or_default();
    Some(std::fs::read_to_string(path).ok()? + "\0" + &env)
}

fn summary(applied: &Applied) -> String {
    if applied.is_empty() { "nothing has changed".to_owned() } else { applied.to_string() }
}
