//! From a configuration to a running weir, and to its end: the only place that wires, and that spawns what lives long.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::discovery::Discovery;
use crate::control::prober::Prober;
use crate::control::reload::Reload;
use crate::control::{Announcer, Publisher, publisher};
use crate::mailbox::{Command, Notice};
use crate::net::resolver::Resolver;
use crate::proxy::worker::Worker;
use crate::shutdown::Shutdown;
use crate::telemetry::{AccessLog, WorkerLog};
use crate::topology::{Live, Topology};

/// What weir is started with.
pub struct Options {
    /// The checked configuration.
    pub config: Config,
    /// The file it came from, which is watched; `None`: it came from nowhere.
    pub file: Option<PathBuf>,
    /// Called once all ports are had, before the first request.
    pub started: Box<dyn FnOnce()>,
}

/// Why weir did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on. The text says what to do.
    #[error("{0}")]
    Listen(String),
    /// The access log could not be opened.
    #[error("cannot open the access log: {0}")]
    AccessLog(io::Error),
    /// The kernel refused a thread, a signal handler or an event queue.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT, and until what is in flight then is finished, or `shutdown_timeout` is over.
///
/// # Errors
/// If it cannot start. Once started it does not fail.
pub fn run(options: Options) -> Result<(), StartError> {
    raise_descriptor_limit();
    let runtime = runtime()?;
    runtime.block_on(control(options))
}

/// The control plane: everything but requests and probes.
async fn control(options: Options) -> Result<(), StartError> {
    let Options { config, file, started } = options;
    let config = Arc::new(config);
    let mut shutdown = Shutdown::on_signals()?;

    // What can fail, first: the ports, then the log.
    let workers = config.workers.unwrap_or_else(available_cores);
    let bound = publisher::bind_all(publisher::addresses(&config), workers).map_err(StartError::Listen)?;
    let log = AccessLog::open(&config.access_log, config.log_format.clone());
    let log = Rc::new(log.map_err(StartError::AccessLog)?);

    let live = Arc::new(Live::new(Topology::build(Arc::clone(&config), Clock::process().now())));
    let (version, follow_version) = watch::channel(0);
    let (requests, receive_requests) = mpsc::unbounded_channel();
    let (notices, receive_notices) = mpsc::unbounded_channel();

    // The data plane.
    let mut commands = Vec::with_capacity(workers);
    let mut threads = Vec::with_capacity(workers);
    let serials = Arc::new(AtomicU64::new(1));
    for index in 0..workers {
        let (command, receive_commands) = mpsc::unbounded_channel();
        commands.push(command);
        let seed = WorkerSeed {
            live: Arc::clone(&live),
            log: log.worker(),
            serials: Arc::clone(&serials),
            notices: notices.clone(),
            commands: receive_commands,
        };
        threads.push(spawn(format!("worker-{index}"), move |runtime| runtime.block_on(seed.run()))?);
    }
    drop(notices);
    let announcer = Arc::new(Announcer::new(Arc::clone(&live), commands));

    // Names, probes and the file.
    let resolver = Resolver::new(&config.resolver, config.resolver_valid);
    let discovery = Discovery::new(Arc::clone(&live), resolver, requests.clone());
    tokio::task::spawn_local(discovery.run(follow_version.clone(), receive_notices));
    let prober_live = Arc::clone(&live);
    let prober_announcer = Arc::clone(&announcer);
    let prober_version = follow_version.clone();
    // Detached: it ends with the process.
    spawn("prober".to_owned(), move |runtime| {
        runtime.block_on(Prober::new(prober_live, prober_announcer).run(prober_version));
    })?;
    if let Some(file) = file {
        tokio::task::spawn_local(Reload::new(file, requests.clone())?.run());
    }
    reopen_on_signal(&log)?;
    let admin = config.admin.listen.as_ref().and_then(|listen| match Admin::bind(listen) {
        Ok(admin) => Some(tokio::task::spawn_local(admin.serve())),
        Err(error) => {
            tracing::warn!("no admin listener at {listen:?}: {error}");
            None
        }
    });

    // Now requests may come.
    started();
    let mut publisher = Publisher::new(Arc::clone(&live), Arc::clone(&announcer), version);
    publisher.listen(bound);
    let publishing = tokio::task::spawn_local(publisher.run(receive_requests));

    shutdown.begun().await;
    let patience = live.load().config().shutdown_timeout;
    tracing::info!("stopping: finishing what is in flight, for at most {patience:?}");
    publishing.abort();
    announcer.tell_workers(|| Command::Drain);
    let late = finish(threads, patience).await;
    if late > 0 {
        tracing::warn!("{late} workers still had connections after {patience:?}: they are cut");
    }
    if let Some(admin) = admin {
        admin.abort();
        // So that its socket file goes.
        let _ = admin.await;
    }
    if let Some(log) = Rc::into_inner(log) {
        log.close(LAST_LINES);
    }
    Ok(())
}

/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Waits for the workers to end. Returns how many did not in time.
async fn finish(threads: Vec<JoinHandle<()>>, limit: Duration) -> usize {
    let clock = Clock::process();
    let until = clock.now() + limit;
    loop {
        let left = threads.iter().filter(|thread| !thread.is_finished()).count();
        if left == 0 || clock.now() >= until {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a worker is made from, on its own thread.
struct WorkerSeed {
    live: Arc<Live>,
    log: WorkerLog,
    serials: Arc<AtomicU64>,
    notices: mpsc::UnboundedSender<Notice>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl WorkerSeed {
    async fn run(self) {
        let worker = Worker::new(&self.live, self.log, self.serials, self.notices);
        Rc::clone(&worker).run(self.commands).await;
    }
}

/// SIGUSR1 opens the access log anew, after it was rotated (as in nginx).
fn reopen_on_signal(log: &Rc<AccessLog>) -> io::Result<()> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1())?;
    let log = Rc::downgrade(log);
    tokio::task::spawn_local(async move {
        while signal.recv().await.is_some() {
            match log.upgrade() {
                Some(log) => log.reopen(),
                None => return,
            }
        }
    });
    Ok(())
}

fn spawn(name: String, body: impl FnOnce(LocalRuntime) + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.clone()).spawn(move || match runtime() {
        Ok(runtime) => body(runtime),
        Err(error) => tracing::error!("{name}: no runtime: {error}"),
    })
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Takes as many descriptors as the system lets this process have: each request in flight needs two.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current < maximum {
        // Refused, weir runs with what it has, and says so when that is used up.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// `workers = "auto"`: as many as this process may use, by affinity and by its container's quota.
fn available_cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
