//! How does a running weir start its successor (SIGUSR2)? By the path that it was started by itself, which may be another
//! binary by now, with the same arguments.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// The flag of `weir run` that makes a successor.
const FLAG: &str = "--takeover";

/// SIGUSR2 starts a successor, by the path that this process was started by (as in nginx). `successors_ask`: where.
///
/// # Errors
/// If the process may not have signal handlers.
pub fn on_signal(successors_ask: watch::Receiver<Option<PathBuf>>) -> io::Result<()> {
    let mut signal = signal(SignalKind::user_defined2())?;
    tokio::task::spawn_local(async move {
        while signal.recv().await.is_some() {
            let place = successors_ask.borrow().clone();
            let Some(place) = place else {
                tracing::error!("no successor is started: there is no socket for it to ask at (`takeover`)");
                continue;
            };
            match start_successor(&place) {
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

/// The arguments of this process, for a successor that asks at `socket`.
pub fn arguments_of_successor(own: impl IntoIterator<Item = OsString>, socket: &Path) -> Vec<OsString> {
    let with_value = format!("{FLAG}=");
    let is_flag = |argument: &OsStr| argument == FLAG || argument.as_bytes().starts_with(with_value.as_bytes());
    let mut arguments: Vec<OsString> = own.into_iter().filter(|argument| !is_flag(argument)).collect();
    let mut flag = OsString::from(with_value);
    flag.push(socket);
    arguments.push(flag);
    arguments
}

/// Starts it. It writes to the same log. Returns its process, and how it ends.
///
/// # Errors
/// The program is not there, or cannot be started.
pub fn start_successor(socket: &Path) -> io::Result<(u32, oneshot::Receiver<io::Result<ExitStatus>>)> {
    let mut own = std::env::args_os();
    let program = own.next().ok_or(io::ErrorKind::NotFound)?;
    let mut child = Command::new(program).args(arguments_of_successor(own, socket)).spawn()?;
    let pid = child.id();
    let (tell, ended) = oneshot::channel();
    // Somebody must wait for it, or its end stays in the system as long as this process lives.
    thread::Builder::new().name("successor".to_owned()).spawn(move || {
        // Whoever wanted to know may have ended.
        let _ = tell.send(child.wait());
    })?;
    Ok((pid, ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_gets_the_same_arguments_and_is_told_where_to_ask_once() {
        let of = |own: &[&str]| {
            let arguments = arguments_of_successor(own.iter().map(OsString::from), Path::new("/run/weir.takeover"));
            arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&["run", "-c", "x.toml"]), "run -c x.toml --takeover=/run/weir.takeover");
        assert_eq!(of(&["run", "--takeover", "-c", "x.toml"]), "run -c x.toml --takeover=/run/weir.takeover");
        assert_eq!(of(&["run", "--takeover=/other"]), "run --takeover=/run/weir.takeover");
    }
}
