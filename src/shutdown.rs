//! When does the process end? First politely, then at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Told once that the process should end, by whoever listens for signals.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: watch::Receiver<bool>,
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT. The second one ends the process at once, with the status a shell gives it.
    /// Must be called within a local runtime.
    ///
    /// # Errors
    /// If the process may not have signal handlers.
    pub fn on_signals() -> std::io::Result<Shutdown> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (tell, begun) = watch::channel(false);
        tokio::task::spawn_local(async move {
            let mut before = false;
            loop {
                let number = tokio::select! {
                    _ = terminate.recv() => 15,
                    _ = interrupt.recv() => 2,
                };
                if before {
                    std::process::exit(128 + number);
                }
                before = true;
                // Nobody left to hear it: then the process is at its end anyway.
                let _ = tell.send(true);
            }
        });
        Ok(Shutdown { begun })
    }

    /// Waits until the end has begun.
    pub async fn begun(&mut self) {
        // An error means that the sender is gone: that is an end, too.
        let _ = self.begun.wait_for(|begun| *begun).await;
    }
}
