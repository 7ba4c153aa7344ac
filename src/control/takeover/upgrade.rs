//! How does a running weir start its successor (SIGUSR2)? By the path that it was started by itself, which may be another
//! binary by now, with the same arguments.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;

use tokio::sync::oneshot;

/// The flag of `weir run` that makes a successor.
const FLAG: &str = "--takeover";

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
