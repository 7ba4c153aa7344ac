//! Who asked for what, and what came of it? One line per request, which no request ever waits for.
//!
//! Each worker formats lines into a buffer of its own and hands full ones to one writer thread. If the disk or the reader
//! of stdout is slower than the requests, lines are dropped, counted, and reported once a minute.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use tokio::sync::Notify;

use super::event::RequestDone;
use super::line::LineWriter;
use super::session::SessionDone;
use crate::config::model::{LogFormat, LogTarget};

mod sink;
mod writer;

use sink::Sink;

/// The access log of the process. Workers write through [`AccessLog::worker`].
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    to_writer: SyncSender<Message>,
    /// Disconnected when the writer has ended.
    writer_ended: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<ArcSwap<Settings>>,
    /// Lines that were not written.
    dropped: AtomicU64,
    /// The file is to be opened anew before the next write.
    reopen: AtomicBool,
}

#[derive(Debug)]
struct Settings {
    on: bool,
    format: LogFormat,
}

/// What the writer thread is told.
#[derive(Debug)]
enum Message {
    Batch(Batch),
    /// From here on, write there.
    Sink(Sink),
    /// Look at `reopen`.
    Look,
}

/// Whole lines of one worker.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    /// Where the empty buffer goes.
    home: SyncSender<Vec<u8>>,
}

/// How many batches may wait for the writer; with [`FULL_BATCH`], at most 8 MiB.
const WAITING_BATCHES: usize = 256;

/// In bytes.
const FULL_BATCH: usize = 32 << 10;

/// How long a line may lie in a worker's buffer: a person may be watching.
const PROMPT: Duration = Duration::from_millis(40);

impl AccessLog {
    /// Starts the writer thread. Fails if the file cannot be opened, or no thread can be started.
    pub fn open(target: &LogTarget, format: LogFormat) -> io::Result<AccessLog> {
        let sink = Sink::open(target)?;
        let shared = Arc::new(Shared {
            settings: Arc::new(ArcSwap::from_pointee(Settings { on: *target != LogTarget::Off, format })),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
        });
        let (to_writer, inbox) = sync_channel(WAITING_BATCHES);
        let (ended, writer_ended) = sync_channel(0);
        let for_writer = shared.clone();
        std::thread::Builder::new().name("access log".into()).spawn(move || {
            let _ended = ended;
            writer::run(sink, &inbox, &for_writer);
        })?;
        Ok(AccessLog { shared, to_writer, writer_ended })
    }

    /// A worker's end of the log.
    pub fn worker(&self) -> WorkerLog {
        // One buffer is being filled, one is on its way, one is on its way back.
        let (home, spare) = sync_channel(2);
        WorkerLog {
            settings: RefCell::new(Cache::new(Arc::clone(&self.shared.settings))),
            shared: self.shared.clone(),
            to_writer: self.to_writer.clone(),
            pending: RefCell::default(),
            home,
            spare,
            filled: Notify::new(),
        }
    }

    /// Writes elsewhere or otherwise from now on; lines that were already handed over still go to where they were
    /// meant for. If the file cannot be opened, or the writer is too far behind to be told, nothing changes.
    pub fn reconfigure(&self, target: &LogTarget, format: LogFormat) -> io::Result<()> {
        let sink = Sink::open(target)?;
        self.to_writer
            .try_send(Message::Sink(sink))
            .map_err(|_| io::Error::other("the access log's writer is stuck"))?;
        self.shared.settings.store(Arc::new(Settings { on: *target != LogTarget::Off, format }));
        Ok(())
    }

    /// Opens the file anew: it was renamed, and a new one is wanted (SIGUSR1, as nginx).
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
        // If the writer has no room for this, it has something else that makes it look.
        let _ = self.to_writer.try_send(Message::Look);
    }

    /// How many lines were not written, since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Waits until everything is written, at most for `limit`; false if that was not enough. The workers' ends must
    /// have been dropped.
    pub fn close(self, limit: Duration) -> bool {
        let AccessLog { to_writer, writer_ended, .. } = self;
        drop(to_writer);
        writer_ended.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    }
}

/// One worker's end of the access log. What is left in it is handed over when it is dropped.
#[derive(Debug)]
pub struct WorkerLog {
    shared: Arc<Shared>,
    /// Those of `shared`, at the cost of one comparison.
    settings: RefCell<Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>>,
    to_writer: SyncSender<Message>,
    pending: RefCell<Pending>,
    home: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    filled: Notify,
}

/// Lines that are not yet handed over.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
    writer: LineWriter,
}

impl WorkerLog {
    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.settings.borrow_mut().load().on
    }

    /// Writes a request's line into the buffer. Never waits; does nothing if the log is off.
    pub fn write(&self, done: &RequestDone<'_>) {
        self.append(|writer, format, out| writer.line(format, done, out));
    }

    /// Writes a session's line, as [`write`](WorkerLog::write) does a request's.
    pub fn write_session(&self, done: &SessionDone<'_>) {
        self.append(|writer, format, out| writer.session(format, done, out));
    }

    fn append(&self, line: impl FnOnce(&mut LineWriter, &LogFormat, &mut Vec<u8>)) {
        let mut settings = self.settings.borrow_mut();
        let settings = settings.load();
        if !settings.on {
            return;
        }
        let mut pending = self.pending.borrow_mut();
        let Pending { bytes, lines, writer } = &mut *pending;
        let first = bytes.is_empty();
        line(writer, &settings.format, bytes);
        *lines += 1;
        if bytes.len() >= FULL_BATCH {
            self.hand_over(&mut pending);
        } else if first {
            self.filled.notify_one();
        }
    }

    /// Hands over what the buffer has.
    pub fn flush(&self) {
        self.hand_over(&mut self.pending.borrow_mut());
    }

    /// Hands over every line within 40 ms, for ever. To be spawned by the worker; sleeps while there is nothing. Broken
    /// off and begun again, it forgets no line.
    pub async fn flush_promptly(&self) {
        loop {
            if self.pending.borrow().bytes.is_empty() {
                self.filled.notified().await;
            }
            tokio::time::sleep(PROMPT).await;
            self.flush();
        }
    }

    fn hand_over(&self, pending: &mut Pending) {
        if pending.bytes.is_empty() {
            return;
        }
        let fresh = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(FULL_BATCH + FULL_BATCH / 4));
        let bytes = std::mem::replace(&mut pending.bytes, fresh);
        let lines = std::mem::take(&mut pending.lines);
        let batch = Message::Batch(Batch { bytes, lines, home: self.home.clone() });
        if let Err(TrySendError::Full(Message::Batch(batch)) | TrySendError::Disconnected(Message::Batch(batch))) =
            self.to_writer.try_send(batch)
        {
            self.shared.dropped.fetch_add(batch.lines, Relaxed);
            pending.bytes = batch.bytes;
            pending.bytes.clear();
        }
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::line::sample;
    use super::*;
    use crate::config::template::{LogVariable, Part, Template, Variable};

    /// Lines that say nothing but the status.
    fn status_alone() -> LogFormat {
        LogFormat::Template(Template { parts: vec![Part::Variable(Variable::Log(LogVariable::Status))] })
    }

    fn file(path: &Path) -> LogTarget {
        LogTarget::File(path.to_owned())
    }

    fn write(worker: &WorkerLog, status: u16) {
        sample(|done| worker.write(&RequestDone { status, ..done }));
    }

    fn content(path: &Path) -> String {
        std::fs::read_to_string(path).expect("the log's file is there")
    }

    const LONG: Duration = Duration::from_secs(60);

    /// A worker's end whose batches nobody takes.
    fn unread(waiting_batches: usize) -> (WorkerLog, Receiver<Message>) {
        let log = AccessLog::open(&LogTarget::Off, status_alone()).expect("off needs no file");
        log.shared.settings.store(Arc::new(Settings { on: true, format: status_alone() }));
        let (to_writer, inbox) = sync_channel(waiting_batches);
        let mut worker = log.worker();
        worker.to_writer = to_writer;
        (worker, inbox)
    }

    #[test]
    fn what_was_written_is_in_the_file_after_closing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&file(&path), status_alone()).expect("the file can be created");
        let (one, other) = (log.worker(), log.worker());
        write(&one, 200);
        write(&one, 404);
        one.flush();
        write(&one, 201);
        drop(one);
        write(&other, 503);
        drop(other);
        assert!(log.close(LONG));
        let mut lines: Vec<String> = content(&path).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["200", "201", "404", "503"]);
    }
    #[test]
    fn off_writes_nothing() {
        let log = AccessLog::open(&LogTarget::Off, status_alone()).expect("off needs no file");
        let worker = log.worker();
        write(&worker, 200);
        assert_eq!(worker.pending.borrow().bytes.capacity(), 0);
        drop(worker);
        assert!(log.close(LONG));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = file(&folder.path().join("missing/access.log"));
        assert!(AccessLog::open(&nowhere, status_alone()).is_err());

        let path = folder.path().join("access.log");
        let log = AccessLog::open(&file(&path), status_alone()).expect("the file can be created");
        assert!(log.reconfigure(&nowhere, LogFormat::Json).is_err());
        let worker = log.worker();
        write(&worker, 200);
        drop(worker);
        assert!(log.close(LONG));
        assert_eq!(content(&path), "200\n");
    }

    #[test]
    fn after_a_reconfiguration_lines_go_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let log = AccessLog::open(&file(&old), status_alone()).expect("the file can be created");
        let worker = log.worker();
        write(&worker, 200);
        worker.flush();
        log.reconfigure(&file(&new), status_alone()).expect("the file can be created");
        write(&worker, 201);
        drop(worker);
        assert!(log.close(LONG));
        assert_eq!((content(&old), content(&new)), ("200\n".to_owned(), "201\n".to_owned()));
    }

    #[test]
    fn a_renamed_file_is_replaced_on_request() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::open(&file(&path), status_alone()).expect("the file can be created");
        std::fs::rename(&path, &rotated).expect("it was created");
        log.reopen();
        let worker = log.worker();
        write(&worker, 200);
        drop(worker);
        assert!(log.close(LONG));
        assert_eq!((content(&path), content(&rotated)), ("200\n".to_owned(), String::new()));
    }

    #[test]
    fn a_full_buffer_is_handed_over_at_once() {
        let (worker, inbox) = unread(10);
        for _ in 0..FULL_BATCH / 4 {
            write(&worker, 200);
        }
        let Ok(Message::Batch(batch)) = inbox.try_recv() else { panic!("no batch") };
        assert_eq!((batch.bytes.len(), batch.lines), (FULL_BATCH, FULL_BATCH as u64 / 4));
        assert!(worker.pending.borrow().bytes.is_empty());
    }

    #[test]
    fn an_emptied_buffer_is_used_again() {
        let (worker, inbox) = unread(10);
        write(&worker, 200);
        worker.flush();
        let Ok(Message::Batch(mut batch)) = inbox.try_recv() else { panic!("no batch") };
        batch.bytes.clear();
        let at = batch.bytes.as_ptr();
        batch.home.try_send(batch.bytes).expect("there is room for two");
        write(&worker, 200);
        worker.flush();
        assert_eq!(worker.pending.borrow().bytes.as_ptr(), at);
    }

    #[test]
    fn if_the_writer_is_too_slow_lines_are_dropped_and_counted() {
        let (worker, inbox) = unread(1);
        for status in [200, 201, 202] {
            write(&worker, status);
            worker.flush();
        }
        assert_eq!(worker.shared.dropped.load(Relaxed), 2);
        let Ok(Message::Batch(batch)) = inbox.try_recv() else { panic!("no batch") };
        assert_eq!(batch.bytes, b"200\n");
        assert!(inbox.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_handed_over_within_50_ms() {
        let (worker, inbox) = unread(10);
        let flushing = tokio::time::timeout(Duration::from_millis(50), worker.flush_promptly());
        let (ended, ()) = tokio::join!(flushing, async { write(&worker, 200) });
        assert!(ended.is_err(), "it goes on for ever");
        assert!(inbox.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_was_broken_off_forgets_no_line() {
        let (worker, inbox) = unread(10);
        let moment = |ms| tokio::time::timeout(Duration::from_millis(ms), worker.flush_promptly());
        let (ended, ()) = tokio::join!(moment(20), async { write(&worker, 200) });
        assert!(ended.is_err() && inbox.try_recv().is_err(), "not handed over yet");
        assert!(moment(50).await.is_err());
        assert!(inbox.try_recv().is_ok());
    }
}
