//! On which threads are requests served? One for each worker; each has a runtime of its own.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::mailbox::{Command, Notice};
use crate::proxy::worker::Worker;
use crate::telemetry::{AccessLog, WorkerLog};
use crate::topology::Live;

/// The threads of the data plane.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
}

/// Where their commands go.
pub type Commands = Vec<mpsc::UnboundedSender<Command>>;

impl Workers {
    /// Starts so many. They accept nothing until they are told to listen.
    ///
    /// # Errors
    /// The kernel refuses a thread.
    pub fn start(
        count: usize,
        live: &Arc<Live>,
        log: &AccessLog,
        notices: &mpsc::UnboundedSender<Notice>,
    ) -> io::Result<(Workers, Commands)> {
        let mut commands = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        let serials = Arc::new(AtomicU64::new(1));
        for index in 0..count {
            let (command, receive_commands) = mpsc::unbounded_channel();
            commands.push(command);
            let seed = Seed {
                live: Arc::clone(live),
                log: log.worker(),
                serials: Arc::clone(&serials),
                notices: notices.clone(),
                commands: receive_commands,
            };
            threads.push(spawn(format!("worker-{index}"), move |runtime| runtime.block_on(seed.run()))?);
        }
        Ok((Workers { threads }, commands))
    }

    /// Waits for them to end. Returns how many did not in time.
    pub async fn finish(self, limit: Duration) -> usize {
        let clock = Clock::process();
        let until = clock.now() + limit;
        loop {
            let left = self.threads.iter().filter(|thread| !thread.is_finished()).count();
            if left == 0 || clock.now() >= until {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What a worker is made from, on its own thread.
struct Seed {
    live: Arc<Live>,
    log: WorkerLog,
    serials: Arc<AtomicU64>,
    notices: mpsc::UnboundedSender<Notice>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Seed {
    async fn run(self) {
        let worker = Worker::new(&self.live, self.log, self.serials, self.notices);
        Rc::clone(&worker).run(self.commands).await;
    }
}

/// A thread with a runtime of its own.
///
/// # Errors
/// The kernel refuses it.
pub fn spawn(name: String, body: impl FnOnce(LocalRuntime) + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.clone()).spawn(move || match runtime() {
        Ok(runtime) => body(runtime),
        Err(error) => tracing::error!("{name}: no runtime: {error}"),
    })
}

/// A runtime for the thread that this is called on.
///
/// # Errors
/// The kernel refuses an event queue.
pub fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// `workers = "auto"`: as many as this process may use, by affinity and by its container's quota.
pub fn available_cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
