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
use super::service;
use crate::config::{self, Diagnostics, Env, Loaded};
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
    /// It has changed, and is left to settle: as it was at the last look, and how many there were.
    settling: Option<(Stamp, u32)>,
    /// Certificates and keys that the file names, be it in a version of it that was refused.
    files: Vec<PathBuf>,
    contents: Contents,
    hangup: Signal,
    warned_stale: bool,
    asked: mpsc::UnboundedReceiver<oneshot::Sender<Read>>,
    ask: mpsc::UnboundedSender<oneshot::Sender<Read>>,
}

/// Asks for the file to be read again.
#[derive(Clone, Debug)]
pub struct Reloader {
    path: Arc<Path>,
    ask: mpsc::UnboundedSender<oneshot::Sender<Read>>,
}

/// What came of reading the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// It is in force: what changed, in one line. `None`: refused, and nothing changed.
    pub changed: Option<String>,
    /// Every mistake, or why it is refused; else its warnings, if there are any.
    pub diagnostics: String,
}

impl Reloader {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again, even if it looks unchanged, and waits until it is in force or refused. `None`: weir is
    /// stopping.
    pub async fn reload(&self) -> Option<Read> {
        let (done, read) = oneshot::channel();
        self.ask.send(done).ok()?;
        read.await.ok()
    }

    /// The file as it is now, without using it.
    pub fn read(&self) -> Result<Loaded, Diagnostics> {
        config::load(&self.path, &Env::beside(&self.path))
    }

    /// Another text, as if it stood in the file.
    pub fn parse(&self, name: &str, text: &str) -> Result<Loaded, Diagnostics> {
        config::parse(name, text, &Env::beside(&self.path))
    }
}

/// What tells without reading that a file may have changed: of the file, of the `.env` beside it, and of the files that
/// it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp(Vec<Option<(u64, u64, u64, SystemTime)>>);

impl Stamp {
    fn of(path: &Path, files: &[PathBuf]) -> Stamp {
        let env = path.with_file_name(".env");
        let paths = [path, &env].into_iter().chain(files.iter().map(PathBuf::as_path));
        let stamp = |path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.len(), meta.modified().ok()?))
        };
        Stamp(paths.map(stamp).collect())
    }
}

/// What the file, its `.env` and the files that it names say; `None`: cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents(Vec<Option<Vec<u8>>>);

impl Contents {
    fn of(path: &Path, files: &[PathBuf]) -> Contents {
        let env = path.with_file_name(".env");
        let paths = [path, &env].into_iter().chain(files.iter().map(PathBuf::as_path));
        // Not a pipe, on which reading could wait for ever.
        let is_file = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
        Contents(paths.map(|path| is_file(path).then(|| std::fs::read(path).ok()).flatten()).collect())
    }
}

impl Reload {
    /// Watches `path`, which has just been read, and the `files` that it names. From here on SIGHUP is caught, which would
    /// else end the process.
    ///
    /// # Errors
    /// If the process may not have signal handlers.
    pub fn new(path: PathBuf, files: Vec<PathBuf>, requests: mpsc::UnboundedSender<Request>) -> io::Result<Reload> {
        let (seen, contents) = (Stamp::of(&path, &files), Contents::of(&path, &files));
        let (ask, asked) = mpsc::unbounded_channel();
        let hangup = signal(SignalKind::hangup())?;
        let (settling, warned_stale) = (None, false);
        Ok(Reload { path, requests, seen, settling, files, contents, hangup, warned_stale, asked, ask })
    }

    /// Whoever wants the file read again.
    pub fn reloader(&self) -> Reloader {
        Reloader { path: self.path.as_path().into(), ask: self.ask.clone() }
    }

    /// Reads the file again whenever it changes, at each SIGHUP, and when asked to.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    let _ = self.load(true).await;
                }
                Some(done) = self.asked.recv() => {
                    let read = self.load(true).await.unwrap_or_default();
                    // Whoever asked may have left.
                    let _ = done.send(read);
                }
                // Whoever asks does not wait for it.
                () = sleep(if self.settling.is_some() { SETTLE } else { LOOK }) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        self.warn_if_stale();
        let now = Stamp::of(&self.path, &self.files);
        match self.settling.take() {
            None if now == self.seen => {}
            None => self.settling = Some((now, 1)),
            Some((before, looks)) if now != before && looks < PATIENCE => self.settling = Some((now, looks + 1)),
            Some(_) => {
                self.seen = now;
                let _ = self.load(false).await;
            }
        }
    }

    /// Reads the file, and puts it in force if it is good. Unasked, only if it says something else than before: else,
    /// and when weir is stopping, there is nothing to tell.
    async fn load(&mut self, asked: bool) -> Option<Read> {
        let contents = Contents::of(&self.path, &self.files);
        if !asked && contents == self.contents {
            return None;
        }
        self.contents = contents;
        service::reloading();
        let read = self.use_file().await?;
        match &read.changed {
            Some(changed) => service::ready(changed),
            None => service::ready("serving by the configuration before: the file is refused"),
        }
        Some(read)
    }

    /// Reads the file, and puts it in force if it is good. `None`: weir is stopping.
    async fn use_file(&mut self) -> Option<Read> {
        let loaded = config::load(&self.path, &Env::beside(&self.path));
        match &loaded {
            Ok(loaded) => self.follow(&loaded.files),
            Err(diagnostics) => self.follow(diagnostics.files()),
        }
        let shown = self.path.display();
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                diagnostics.print();
                tracing::error!(
                    "{shown} is not used, for the {} errors above; the configuration in force stays",
                    diagnostics.errors()
                );
                return Some(Read { changed: None, diagnostics: diagnostics.to_string() });
            }
        };
        loaded.warnings.print();
        let (done, result) = oneshot::channel();
        self.requests.send(Request { change: Change::Config(Arc::new(loaded.config)), done: Some(done) }).ok()?;
        match result.await.ok()? {
            Ok(applied) => {
                let changed = summary(&applied);
                tracing::info!("{shown} is in force: {changed}");
                Some(Read { changed: Some(changed), diagnostics: loaded.warnings.to_string() })
            }
            Err(reason) => {
                tracing::error!("{shown} is not used: {reason}; the configuration in force stays");
                Some(Read { changed: None, diagnostics: format!("{reason}\n") })
            }
        }
    }

    /// Looks at these files from now on. Of those that are new, what is there now is what was read.
    fn follow(&mut self, files: &[PathBuf]) {
        if self.files != files {
            self.files = files.to_vec();
            self.seen = Stamp::of(&self.path, files);
            self.contents = Contents::of(&self.path, files);
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

fn summary(applied: &Applied) -> String {
    if applied.is_empty() { "nothing has changed".to_owned() } else { applied.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_does_not_wait_until_the_file_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upstream.toml");
        std::fs::write(&path, "workers = 1\n").unwrap();
        let (requests, mut requested) = mpsc::unbounded_channel::<Request>();
        let reload = Reload::new(path.clone(), Vec::new(), requests).unwrap();
        let reloader = reload.reloader();
        tokio::spawn(reload.run());
        tokio::spawn(async move {
            while let Some(request) = requested.recv().await {
                let _ = request.done.unwrap().send(Err("seen".to_owned()));
            }
        });
        // The look has shown that it has changed; the next one would tell that it changes no more.
        std::fs::write(&path, "workers = 11\n").unwrap();
        sleep(LOOK + SETTLE / 2).await;
        let (clock, asked) = (Clock::process(), Clock::process().now());
        assert!(reloader.reload().await.is_some_and(|read| !read.diagnostics.is_empty()));
        assert_eq!(clock.now().since(asked), Duration::ZERO);
    }
}
