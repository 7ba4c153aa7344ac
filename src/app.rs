//! From a configuration to a running weir, and to its end: the only place that wires, and that spawns what lives long.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle as JoinTask;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Desk};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::model::AdminListen;
use crate::control::discovery::{Discovery, Resolving};
use crate::control::outliers::Outliers;
use crate::control::prober::Prober;
use crate::control::ramps::Ramps;
use crate::control::reload::Reload;
use crate::control::replicas::Replicas;
use crate::control::sources::{self, Sources};
use crate::control::takeover::{self, End, Predecessor, Succession, Successor};
use crate::control::waits::Waits;
use crate::control::{Announcer, Publisher, Request, publisher, secrets, service};
use crate::endpoint::Place;
use crate::mailbox::{Command, Notice};
use crate::net::{Held, Inherited};
use crate::proxy::worker::Worker;
use crate::shutdown::Shutdown;
use crate::state::StateFile;
use crate::telemetry::{AccessLog, WorkerLog};
use crate::topology::{Live, Topology};

/// What weir is started with.
pub struct Options {
    /// The checked configuration.
    pub config: Config,
    /// The file it came from, which is watched; `None`: it came from nowhere.
    pub file: Option<PathBuf>,
    /// The files that it names, which are watched as well: certificates and keys.
    pub files: Vec<PathBuf>,
    /// Where the weir answers whose sockets are taken over, if one does.
    pub takeover: Option<PathBuf>,
    /// Listening sockets that the service manager has opened.
    pub inherited: Inherited,
    /// Called once all ports are had, before the first request.
    pub started: Box<dyn FnOnce()>,
}

impl Options {
    /// Of a configuration that came from nowhere, alone.
    pub fn of(config: Config) -> Options {
        let inherited = Inherited::default();
        Options { config, file: None, files: Vec::new(), takeover: None, inherited, started: Box::new(|| {}) }
    }
}

/// Why weir did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on. The text says what to do.
    #[error("{0}")]
    Listen(String),
    /// The weir that runs goes on; the text says why.
    #[error("no takeover: {0}")]
    Takeover(String),
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
    let Options { config, file, files, takeover, mut inherited, started } = options;
    let config = Arc::new(config);
    let mut shutdown = Shutdown::on_signals()?;

    // What can fail, first: the weir that runs, the ports, then the log.
    let mut successor = match &takeover {
        Some(path) => follow(path).await?,
        None => None,
    };
    let lots = successor.iter_mut().flat_map(Successor::take_lots).collect::<Vec<_>>();
    let offered: Vec<Place> = lots.iter().map(|lot| lot.place.clone()).collect();
    inherited.extend(lots);
    let there = inherited.len();
    let workers = config.workers.unwrap_or_else(available_cores);
    let bound = publisher::bind_all(publisher::addresses(&config), workers, &mut inherited);
    let bound = bound.map_err(StartError::Listen)?;
    let datagrams = publisher::bind_datagrams(publisher::datagram_addresses(&config), workers, &mut inherited);
    let datagrams = datagrams.map_err(StartError::Listen)?;
    if successor.is_some() && inherited.len() == there {
        let why = "the weir that runs listens on none of the addresses of this configuration";
        return Err(StartError::Takeover(why.to_owned()));
    }
    let held = Rc::new(Held::default());
    let admin = config.admin.listen.as_ref().map(|listen| admin::Listener::bind(listen, &held, &mut inherited));
    let rest: Vec<Place> = inherited.rest().into_iter().map(|lot| lot.place).collect();
    rest.iter().for_each(|place| tracing::info!("{place} is in no `listen`: its socket is closed"));
    let log = AccessLog::open(&config.access_log, config.log_format.clone());
    let log = Rc::new(log.map_err(StartError::AccessLog)?);

    // Of a successor the file is its predecessor's for now.
    let mut state = config.state_file.as_deref().filter(|_| successor.is_none()).map(open_state);
    let secret: Arc<[u8]> = match (&successor, &mut state) {
        (Some(successor), _) => successor.secret().into(),
        (None, None) => Arc::new(rand::random::<[u8; 32]>()),
        (None, Some(state)) => {
            let secret = secrets::of(state).unwrap_or_else(rand::random);
            keep_secret(state, &secret);
            Arc::new(secret)
        }
    };
    let topology = Topology::build(Arc::clone(&config), &secret, Clock::process().now());
    let live = Arc::new(Live::new(topology));
    let (version, follow_version) = watch::channel(0);
    let (requests, mut receive_requests) = mpsc::unbounded_channel();
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

    // What files of servers say, and what operators of an earlier process have left, before anybody asks.
    let mut publisher = Publisher::new(Arc::clone(&live), Arc::clone(&announcer), Rc::clone(&held), version);
    for change in sources::file::at_start(&config) {
        // Such a change opens no port, so that nothing can be refused.
        let _ = publisher.apply(change);
    }
    match (&successor, state) {
        (Some(successor), _) => publisher.inherit(successor.adjustments()),
        (None, Some(state)) => publisher.remember(Arc::new(Mutex::new(state))),
        (None, None) => {}
    }

    // Names, other sources, probes and the file.
    let resolving = Resolving::new(&live);
    let discovery = Discovery::new(Arc::clone(&live), resolving.clone(), requests.clone());
    tokio::task::spawn_local(discovery.run(follow_version.clone(), receive_notices));
    tokio::task::spawn_local(Replicas::new(Arc::clone(&live), resolving.clone()).run(follow_version.clone()));
    let sources = Sources::new(Arc::clone(&live), resolving, requests.clone());
    tokio::task::spawn_local(sources.run(follow_version.clone()));
    let outliers = Outliers::new(Arc::clone(&live), Arc::clone(&announcer));
    tokio::task::spawn_local(outliers.run(follow_version.clone()));
    tokio::task::spawn_local(Waits::new(Arc::clone(&live)).run(follow_version.clone()));
    tokio::task::spawn_local(Ramps::new(Arc::clone(&live)).run(follow_version.clone()));
    let prober_live = Arc::clone(&live);
    let prober_announcer = Arc::clone(&announcer);
    let prober_version = follow_version.clone();
    // Detached: it ends with the process.
    spawn("prober".to_owned(), move |runtime| {
        runtime.block_on(Prober::new(prober_live, prober_announcer).run(prober_version));
    })?;
    let has_file = file.is_some();
    let mut reloader = None;
    let mut reloading = None;
    if let Some(file) = file {
        let reload = Reload::new(file, files, requests.clone())?;
        reloader = Some(reload.reloader());
        reloading = Some(reload);
    }
    reopen_on_signal(&log)?;
    let (place, successors_ask) = watch::channel(None);
    upgrade_on_signal(successors_ask)?;
    let log_follower = tokio::task::spawn_local(follow_log(Rc::clone(&log), Arc::clone(&live), follow_version.clone()));
    secrets::tell_of_made_up(None, live.load().config());

    if let Some(successor) = &successor {
        // The predecessor serves meanwhile: nobody waits for names and probes.
        let looked = tokio::select! {
            looked = successor.look_around(&live, &announcer) => looked,
            () = shutdown.begun() => Err("this process was told to stop".to_owned()),
            () = publisher.run(&mut receive_requests) => Ok(()),
        };
        looked.map_err(StartError::Takeover)?;
    }

    // Now requests may come.
    started();
    publisher.listen(bound);
    publisher.listen_datagrams(datagrams);
    if let Some(successor) = successor {
        let taken: Vec<Place> = offered.into_iter().filter(|place| !rest.contains(place)).collect();
        if let Err(why) = succeed(successor, &taken, &mut publisher, &mut receive_requests).await {
            // What was accepted meanwhile is finished; the sockets are the predecessor's.
            announcer.tell_workers(|| Command::HandOver);
            finish(threads, config.shutdown_timeout).await;
            return Err(StartError::Takeover(why));
        }
        held.own_files();
        publisher.set_modes(&config);
        if let Some(path) = &config.state_file {
            let mut state = open_state(path);
            keep_secret(&mut state, &secret);
            publisher.record(Arc::new(Mutex::new(state)));
        }
    }
    // Not earlier: a new file may want ports, and those of this one are had only now.
    let reloading = reloading.map(|reload| AbortOnDropHandle::new(tokio::task::spawn_local(reload.run())));
    let desk = Desk::new(Arc::clone(&live), requests.clone(), reloader);
    let version = follow_version.clone();
    let admin = follow_admin(desk, Arc::clone(&live), version, Rc::clone(&held), (config.admin.listen.clone(), admin));
    let mut admin = Some(tokio::task::spawn_local(admin));
    let (done, mut successions) = mpsc::channel(1);
    let predecessor = Predecessor {
        live: Arc::clone(&live),
        held: Rc::clone(&held),
        secret,
        shutdown: shutdown.clone(),
        done,
        place,
    };
    let predecessor = has_file.then(|| tokio::task::spawn_local(predecessor.run(follow_version)));
    let publishing = tokio::task::spawn_local(async move { publisher.run(&mut receive_requests).await });
    service::ready("serving");

    let succession = tokio::select! {
        () = shutdown.begun() => None,
        Some(succession) = successions.recv() => Some(succession),
    };
    if let Some(predecessor) = predecessor {
        // It has a last word for a successor that is on its way, and may have said already that the sockets are its own.
        let _ = tokio::time::timeout(LAST_WORD, predecessor).await;
    }
    let succession = succession.or_else(|| successions.try_recv().ok());
    let patience = live.load().config().shutdown_timeout;
    drop(reloading);
    let drain: fn() -> Command = match &succession {
        None => {
            service::stopping();
            tracing::info!("stopping: finishing what is in flight, for at most {patience:?}");
            || Command::Drain
        }
        Some(Succession { pid, places, .. }) => {
            let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            tracing::info!("the successor{who} accepts: finishing what is in flight, for at most {patience:?}");
            held.leave_files(places);
            end(admin.take()).await;
            || Command::HandOver
        }
    };
    // So that the files of unix sockets go, unless they are a successor's: from here on nobody else may connect.
    publishing.abort();
    let _ = publishing.await;
    if let Some(Succession { pid, letting_go, .. }) = succession {
        pid.into_iter().for_each(service::succeeded_by);
        drop(letting_go);
    }
    announcer.tell_workers(drain);
    let late = finish(threads, patience).await;
    if late > 0 {
        tracing::warn!("{late} workers still had connections after {patience:?}: they are cut");
    }
    // So that the socket file goes, and the log can be closed.
    end(admin).await;
    end(Some(log_follower)).await;
    if let Some(log) = Rc::into_inner(log) {
        log.close(LAST_LINES);
    }
    Ok(())
}

/// The weir that answers there, which hands over its sockets; `None`: none does.
async fn follow(path: &Path) -> Result<Option<Successor>, StartError> {
    let shown = path.display();
    match Successor::ask(path).await {
        Ok(Some(successor)) => {
            let who = successor.predecessor().map(|pid| format!(" (process {pid})")).unwrap_or_default();
            tracing::info!("taking over from the weir at {shown}{who}");
            Ok(Some(successor))
        }
        Ok(None) => {
            tracing::info!("no weir to take over from at {shown}: starting as usual");
            Ok(None)
        }
        Err(why) => Err(StartError::Takeover(format!("the weir at {shown}: {why}"))),
    }
}

/// Tells the predecessor that this process accepts, at these places.
///
/// # Errors
/// The predecessor goes on; in words.
async fn succeed(
    successor: Successor,
    places: &[Place],
    publisher: &mut Publisher,
    requests: &mut mpsc::UnboundedReceiver<Request>,
) -> Result<(), String> {
    let end = tokio::select! {
        end = successor.ready(places) => end,
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

fn open_state(path: &Path) -> StateFile {
    let (state, said) = StateFile::open(path);
    said.iter().for_each(|said| tracing::warn!("{said}"));
    state
}

fn keep_secret(state: &mut StateFile, secret: &[u8]) {
    if let Err(error) = secrets::keep(state, secret) {
        tracing::warn!("the state file {} cannot be written: {error}", state.path().display());
    }
}

/// Ends a task, and waits until what it holds is gone.
async fn end<T>(task: Option<JoinTask<T>>) {
    if let Some(task) = task {
        task.abort();
        let _ = task.await;
    }
}

/// How long a successor that is not to be one any more may take to be told so.
const LAST_WORD: Duration = Duration::from_secs(1);
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

/// The admin listener, where the configuration in force has it. One that cannot be had leaves the one there was.
/// `first` is the one of the first configuration.
async fn follow_admin(
    desk: Desk,
    live: Arc<Live>,
    mut version: watch::Receiver<u64>,
    held: Rc<Held>,
    first: (Option<AdminListen>, Option<io::Result<admin::Listener>>),
) {
    let (mut wanted, mut bound) = first;
    let mut serving = None;
    loop {
        match bound {
            Some(Ok(listener)) => {
                tracing::info!("the admin API is at {}", listener.shown());
                let task = tokio::task::spawn_local(admin::serve(listener, desk.clone()));
                serving = Some(AbortOnDropHandle::new(task));
            }
            Some(Err(error)) => tracing::warn!("no admin listener at {wanted:?}: {error}"),
            None if wanted.is_none() => drop(serving.take()),
            None => {}
        }
        let now = live.load().config().admin.listen.clone();
        if wanted != now {
            bound = now.as_ref().map(|listen| admin::Listener::bind(listen, &held, &mut Inherited::default()));
            wanted = now;
            continue;
        }
        bound = None;
        if version.changed().await.is_err() {
            // It goes with this task.
            std::future::pending::<()>().await;
        }
    }
}

/// The access log, as the configuration in force wants it.
async fn follow_log(log: Rc<AccessLog>, live: Arc<Live>, mut version: watch::Receiver<u64>) {
    let of = |live: &Live| {
        let topology = live.load();
        (topology.config().access_log.clone(), topology.config().log_format.clone())
    };
    let mut before = of(&live);
    while version.changed().await.is_ok() {
        let now = of(&live);
        if now != before {
            match log.reconfigure(&now.0, now.1.clone()) {
                Ok(()) => tracing::info!("the access log is as the file says now"),
                Err(error) => tracing::error!("cannot open the access log: {error}; it stays as it was"),
            }
            before = now;
        }
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

/// SIGUSR2 starts a successor, by the path that this process was started by (as in nginx).
fn upgrade_on_signal(successors_ask: watch::Receiver<Option<PathBuf>>) -> io::Result<()> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined2())?;
    tokio::task::spawn_local(async move {
        while signal.recv().await.is_some() {
            let place = successors_ask.borrow().clone();
            let Some(place) = place else {
                tracing::error!("no successor is started: there is no socket for it to ask at (`takeover`)");
                continue;
            };
            match takeover::start_successor(&place) {
                Ok((pid, ended)) => {
                    tracing::info!("started a successor (process {pid})");
                    tokio::task::spawn_local(async move {
                        match ended.await {
                            Ok(Ok(status)) => tracing::error!("the successor (process {pid}) has ended with {status}"),
                            Ok(Err(error)) => tracing::error!("the successor (process {pid}): {error}"),
                            Err(_) => {}
                        }
                    });
                }
                Err(error) => tracing::error!("cannot start a successor: {error}"),
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
