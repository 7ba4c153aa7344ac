//! From a configuration to a running weir, and to its end: the only place that wires, and that spawns what lives long.
//!
//! | file | question |
//! | --- | --- |
//! | this one | in which order does weir start, and stop? |
//! | `ports` | which sockets does it begin with? |
//! | `memory` | what does it know from the process before it? |
//! | `workers` | on which threads are requests served? |
//! | `log` | who tells the access log that it is to be another one? |

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Desk};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::discovery::{Discovery, Resolving};
use crate::control::outliers::Outliers;
use crate::control::prober::Prober;
use crate::control::ramps::Ramps;
use crate::control::reload::Reload;
use crate::control::replicas::Replicas;
use crate::control::sources::{self, Sources};
use crate::control::takeover::{self, Predecessor, Succession, Successor};
use crate::control::waits::Waits;
use crate::control::{Announcer, Publisher, Request, secrets, service};
use crate::mailbox::{Command, Notice};
use crate::net::{Held, Inherited};
use crate::shutdown::Shutdown;
use crate::telemetry::AccessLog;
use crate::topology::{Live, Topology};

mod log;
mod memory;
mod ports;
mod workers;

use memory::Memory;
use ports::Ports;
use workers::{Workers, available_cores, runtime, spawn};

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

/// How long a successor that is not to be one any more may take to be told so.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The control plane: everything but requests and probes.
async fn control(options: Options) -> Result<(), StartError> {
    let mut shutdown = Shutdown::on_signals()?;
    let mut running = start(options, &mut shutdown).await?;
    let succession = tokio::select! {
        () = shutdown.begun() => None,
        Some(succession) = running.successions.recv() => Some(succession),
    };
    running.stop(succession).await;
    Ok(())
}

/// A weir that serves.
struct Running {
    live: Arc<Live>,
    announcer: Arc<Announcer>,
    held: Rc<Held>,
    workers: Workers,
    log: Rc<AccessLog>,
    log_follower: JoinHandle<()>,
    reloading: Option<AbortOnDropHandle<()>>,
    admin: Option<JoinHandle<()>>,
    /// Whoever talks to a successor.
    predecessor: Option<JoinHandle<()>>,
    /// Told when one has the sockets.
    successions: mpsc::Receiver<Succession>,
    publishing: JoinHandle<()>,
}

async fn start(options: Options, shutdown: &mut Shutdown) -> Result<Running, StartError> {
    let Options { config, file, files, takeover, inherited, started } = options;
    let config = Arc::new(config);

    // What can fail, first: the weir that runs, the ports, then the log.
    let mut successor = match &takeover {
        Some(path) => Successor::follow(path).await.map_err(StartError::Takeover)?,
        None => None,
    };
    let count = config.workers.unwrap_or_else(available_cores);
    let Ports { listeners, datagrams, admin, held, taken } =
        Ports::gather(&config, count, inherited, successor.as_mut())?;
    let log = AccessLog::open(&config.access_log, config.log_format.clone());
    let log = Rc::new(log.map_err(StartError::AccessLog)?);

    let memory = Memory::recall(&config, successor.as_ref());
    let secret = Arc::clone(&memory.secret);
    let topology = Topology::build(Arc::clone(&config), &secret, Clock::process().now());
    let live = Arc::new(Live::new(topology));
    let (version, follow_version) = watch::channel(0);
    let (requests, mut receive_requests) = mpsc::unbounded_channel();
    let (notices, receive_notices) = mpsc::unbounded_channel();

    // The data plane.
    let (workers, commands) = Workers::start(count, &live, &log, &notices)?;
    drop(notices);
    let announcer = Arc::new(Announcer::new(Arc::clone(&live), commands));

    // What files of servers say, and what operators of an earlier process have left, before anybody asks.
    let mut publisher = Publisher::new(Arc::clone(&live), Arc::clone(&announcer), Rc::clone(&held), version);
    for change in sources::file::at_start(&config) {
        // Such a change opens no port, so that nothing can be refused.
        let _ = publisher.apply(change);
    }
    memory.resume(&mut publisher, successor.as_ref());

    // Names, other sources, probes and the file.
    keep_current(&live, &announcer, &requests, receive_notices, &follow_version)?;
    let has_file = file.is_some();
    let reload = file.map(|file| Reload::new(file, files, requests.clone())).transpose()?;
    let reloader = reload.as_ref().map(Reload::reloader);
    log::reopen_on_signal(&log)?;
    let (place, successors_ask) = watch::channel(None);
    takeover::on_signal(successors_ask)?;
    let log_follower =
        tokio::task::spawn_local(log::follow(Rc::clone(&log), Arc::clone(&live), follow_version.clone()));
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
    publisher.listen(listeners);
    publisher.listen_datagrams(datagrams);
    if let Some(successor) = successor {
        if let Err(why) = successor.take_over(&taken, &mut publisher, &mut receive_requests).await {
            // What was accepted meanwhile is finished; the sockets are the predecessor's.
            announcer.tell_workers(|| Command::HandOver);
            workers.finish(config.shutdown_timeout).await;
            return Err(StartError::Takeover(why));
        }
        held.own_files();
        publisher.set_modes(&config);
        if let Some(path) = &config.state_file {
            memory::take_over(path, &secret, &mut publisher);
        }
    }
    // Not earlier: a new file may want ports, and those of this one are had only now.
    let reloading = reload.map(|reload| AbortOnDropHandle::new(tokio::task::spawn_local(reload.run())));
    let desk = Desk::new(Arc::clone(&live), requests, reloader);
    let first = (config.admin.listen.clone(), admin);
    let admin = tokio::task::spawn_local(admin::follow(desk, follow_version.clone(), Rc::clone(&held), first));
    let (done, successions) = mpsc::channel(1);
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
    let admin = Some(admin);
    Ok(Running {
        live,
        announcer,
        held,
        workers,
        log,
        log_follower,
        reloading,
        admin,
        predecessor,
        successions,
        publishing,
    })
}

/// Starts whoever looks what has changed beside the file: names, other sources, the peers' health and speed.
fn keep_current(
    live: &Arc<Live>,
    announcer: &Arc<Announcer>,
    requests: &mpsc::UnboundedSender<Request>,
    notices: mpsc::UnboundedReceiver<Notice>,
    version: &watch::Receiver<u64>,
) -> io::Result<()> {
    let resolving = Resolving::new(live);
    let discovery = Discovery::new(Arc::clone(live), resolving.clone(), requests.clone());
    tokio::task::spawn_local(discovery.run(version.clone(), notices));
    tokio::task::spawn_local(Replicas::new(Arc::clone(live), resolving.clone()).run(version.clone()));
    tokio::task::spawn_local(Sources::new(Arc::clone(live), resolving, requests.clone()).run(version.clone()));
    tokio::task::spawn_local(Outliers::new(Arc::clone(live), Arc::clone(announcer)).run(version.clone()));
    tokio::task::spawn_local(Waits::new(Arc::clone(live)).run(version.clone()));
    tokio::task::spawn_local(Ramps::new(Arc::clone(live)).run(version.clone()));
    let (live, announcer, version) = (Arc::clone(live), Arc::clone(announcer), version.clone());
    // Detached: it ends with the process.
    spawn("prober".to_owned(), move |runtime| runtime.block_on(Prober::new(live, announcer).run(version)))?;
    Ok(())
}

impl Running {
    /// Finishes what is in flight. `succession`: another process accepts from now on.
    async fn stop(mut self, succession: Option<Succession>) {
        if let Some(predecessor) = self.predecessor {
            // It has a last word for a successor that is on its way, and may have said already that the sockets are its own.
            let _ = tokio::time::timeout(LAST_WORD, predecessor).await;
        }
        let succession = succession.or_else(|| self.successions.try_recv().ok());
        let patience = self.live.load().config().shutdown_timeout;
        drop(self.reloading);
        let drain: fn() -> Command = match &succession {
            None => {
                service::stopping();
                tracing::info!("stopping: finishing what is in flight, for at most {patience:?}");
                || Command::Drain
            }
            Some(Succession { pid, places, .. }) => {
                let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                tracing::info!("the successor{who} accepts: finishing what is in flight, for at most {patience:?}");
                self.held.leave_files(places);
                end(self.admin.take()).await;
                || Command::HandOver
            }
        };
        // So that the files of unix sockets go, unless they are a successor's: from here on nobody else may connect.
        end(Some(self.publishing)).await;
        if let Some(Succession { pid, letting_go, .. }) = succession {
            pid.into_iter().for_each(service::succeeded_by);
            drop(letting_go);
        }
        self.announcer.tell_workers(drain);
        let late = self.workers.finish(patience).await;
        if late > 0 {
            tracing::warn!("{late} workers still had connections after {patience:?}: they are cut");
        }
        // So that the socket file goes, and the log can be closed.
        end(self.admin).await;
        end(Some(self.log_follower)).await;
        if let Some(log) = Rc::into_inner(self.log) {
            log.close(LAST_LINES);
        }
    }
}

/// Ends a task, and waits until what it holds is gone.
async fn end<T>(task: Option<JoinHandle<T>>) {
    if let Some(task) = task {
        task.abort();
        let _ = task.await;
    }
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
