//! Who tells the access log that it is to be another one? The configuration in force, and SIGUSR1.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use crate::telemetry::AccessLog;
use crate::topology::Live;

/// The access log, as the configuration in force wants it.
pub async fn follow(log: Rc<AccessLog>, live: Arc<Live>, mut version: watch::Receiver<u64>) {
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
///
/// # Errors
/// If the process may not have signal handlers.
pub fn reopen_on_signal(log: &Rc<AccessLog>) -> io::Result<()> {
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
