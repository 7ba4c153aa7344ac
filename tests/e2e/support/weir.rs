//! How is the real binary run? In a folder of its own, with its log read line by line.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use super::client::{Client, Response, get};

/// A running weir, killed when dropped. When its test panics, its output is printed.
pub struct Weir {
    child: Child,
    folder: Arc<tempfile::TempDir>,
    log: Lines,
    access: Lines,
    address: SocketAddr,
}

impl Weir {
    /// Starts `weir run` and waits until it listens. `@DIR@` in the text is the test's own folder; an `[admin]` socket
    /// there is added unless the text says otherwise.
    pub fn start(toml: &str) -> Weir {
        Weir::start_with(toml, |_| {})
    }

    /// As [`Weir::start`], after `prepare` has put into the folder what the configuration names.
    pub fn start_with(toml: &str, prepare: impl FnOnce(&Path)) -> Weir {
        let mut weir = Weir::launch_with(toml, prepare);
        weir.addresses(1);
        weir
    }

    /// Starts `weir run`, for which it may be impossible to listen.
    pub fn launch(toml: &str) -> Weir {
        Weir::launch_with(toml, |_| {})
    }

    /// As [`Weir::launch`], after `prepare`.
    pub fn launch_with(toml: &str, prepare: impl FnOnce(&Path)) -> Weir {
        Weir::launch_in(folder_of(toml, prepare), |_| {})
    }

    /// Starts `weir run` after `adapt` has changed how it is started.
    pub fn launch_adapted(toml: &str, adapt: impl FnOnce(&mut Command)) -> Weir {
        Weir::launch_in(folder_of(toml, |_| {}), adapt)
    }

    /// Starts `weir run` with a listening socket from the service manager.
    pub fn launch_activated(toml: &str, socket: OwnedFd) -> Weir {
        let folder = folder_of(toml, |_| {});
        // Within the shell that becomes weir, so that `LISTEN_PID` is weir's.
        let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(binary()).args(["run", "-c", "upstream.toml"]).stdin(socket);
        Weir::spawn(folder, command)
    }

    /// Starts `weir run --takeover` in the same folder, to follow this one.
    pub fn successor(&self) -> Weir {
        self.successor_adapted(|_| {})
    }

    /// As [`Weir::successor`], after `adapt` has changed how it is started.
    pub fn successor_adapted(&self, adapt: impl FnOnce(&mut Command)) -> Weir {
        Weir::launch_in(Arc::clone(&self.folder), |command| {
            command.arg("--takeover");
            adapt(command);
        })
    }

    /// Kills it, as a crash would, and starts it again in the same folder.
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        *self = Weir::launch_in(Arc::clone(&self.folder), |_| {});
        self.addresses(1);
    }

    fn launch_in(folder: Arc<tempfile::TempDir>, adapt: impl FnOnce(&mut Command)) -> Weir {
        let mut command = Command::new(binary());
        command.args(["run", "-c", "upstream.toml"]).stdin(Stdio::null());
        adapt(&mut command);
        Weir::spawn(folder, command)
    }

    fn spawn(folder: Arc<tempfile::TempDir>, mut command: Command) -> Weir {
        let mut child = command
            .current_dir(folder.path())
            .env("WEIR_LOG", "info")
            .env("NO_COLOR", "1")
            .env_remove("WEIR_CONFIG")
            .env_remove("SSL_CERT_FILE")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Lines::of(child.stderr.take().expect("stderr is piped"));
        let access = Lines::of(child.stdout.take().expect("stdout is piped"));
        Weir { child, folder, log, access, address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// Where the first listener listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the first `count` listeners listen, in the order of their lines in the log.
    pub fn addresses(&mut self, count: usize) -> Vec<SocketAddr> {
        const SAID: [&str; 2] = ["listening on http://", "listening on https://"];
        let begun = Instant::now();
        loop {
            let lines = self.log.all();
            let found: Vec<SocketAddr> = lines
                .iter()
                .filter_map(|line| SAID.iter().find_map(|said| line.split_once(said)))
                .filter_map(|(_, rest)| rest.split_whitespace().next()?.trim_end_matches('/').parse().ok())
                .collect();
            if found.len() >= count {
                self.address = found[0];
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("weir ended before it listened, with {status}:\n{}", self.log.all().join("\n"));
            }
            assert!(begun.elapsed() < PATIENCE, "weir does not listen:\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where the first listener of a stream listens; `protocol` is `tcp` or `udp`.
    pub fn listens_on(&self, protocol: &str) -> SocketAddr {
        let said = format!(" listening on {protocol}://");
        let line = self.wait_for(&said, |line| line.contains(&said) && !line.contains("no longer"));
        let (_, address) = line.split_once("://").expect("an address follows");
        address.trim().parse().expect("an address follows")
    }

    /// GET on a connection of its own, as `curl` does.
    pub fn get(&self, path: &str) -> Response {
        get(self.address, path)
    }

    /// The bodies of `count` GETs, each on a connection of its own, in one string.
    pub fn rotation(&self, count: usize) -> String {
        (0..count).map(|_| self.get("/").text()).collect()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the configuration, as an editor does: a new file under the old name.
    pub fn edit(&self, toml: &str) {
        let fresh = self.folder.path().join("upstream.toml.new");
        std::fs::write(&fresh, complete(toml, self.folder.path())).unwrap();
        std::fs::rename(fresh, self.config_file()).unwrap();
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("upstream.toml")
    }

    /// The lines of the program log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// How many lines the log has now: where a later [`Weir::wait_since`] begins.
    pub fn mark(&self) -> usize {
        self.log.all().len()
    }

    /// Waits for a line of the log, from its beginning.
    pub fn wait_for(&self, claim: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_since(0, claim, wanted)
    }

    /// Waits for a line of the log after `mark`.
    pub fn wait_since(&self, mark: usize, claim: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.log.wait(mark, claim, wanted)
    }

    /// Waits until the log says that a peer entered `state`.
    pub fn wait_for_state(&self, peer: SocketAddr, state: &str) -> String {
        self.wait_for_state_since(0, peer, state)
    }

    /// Waits until the log says, after `mark`, that a peer entered `state`.
    pub fn wait_for_state_since(&self, mark: usize, peer: SocketAddr, state: &str) -> String {
        let (peer, arrow) = (peer.to_string(), format!("→ {state}:"));
        self.wait_since(mark, &format!("{peer} {arrow}"), |line| line.contains(&peer) && line.contains(&arrow))
    }

    /// Waits for a line of the access log (stdout).
    pub fn wait_for_access(&self, claim: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.access.wait(0, claim, wanted)
    }

    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("weir is running");
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "weir does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory it ever held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:") * 1024
    }

    /// The memory that it holds, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    pub fn threads(&self) -> usize {
        usize::try_from(self.status("Threads:")).unwrap()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// What Linux says of the process: a number, of kB if it is memory.
    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- weir's log\n{}", self.log.all().join("\n"));
            let access = self.access.all();
            eprintln!("--- the last lines of its access log\n{}", access[access.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Runs another subcommand to its end: exit code, stdout, stderr.
pub fn command(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    command_with(folder, arguments, &[])
}

/// The same, with these variables in its environment.
pub fn command_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let done = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .envs(variables.iter().copied())
        .env("NO_COLOR", "1")
        .env_remove("WEIR_CONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// The binary of this crate, or another build of it that is to be put to the test: `WEIR_E2E_BINARY`.
fn binary() -> PathBuf {
    std::env::var_os("WEIR_E2E_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_weir").into()).into()
}

/// A new folder with this configuration, after `prepare` has put into it what that names.
fn folder_of(toml: &str, prepare: impl FnOnce(&Path)) -> Arc<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    prepare(folder.path());
    std::fs::write(folder.path().join("upstream.toml"), complete(toml, folder.path())).unwrap();
    Arc::new(folder)
}

fn complete(toml: &str, folder: &Path) -> String {
    let mut toml = toml.to_owned();
    if !toml.contains("[admin]") {
        toml += "\n[admin]\nlisten = \"unix:@DIR@/admin.sock\"\n";
    }
    toml.replace("@DIR@", folder.to_str().expect("temporary folders have plain names"))
}

/// The lines of a stream, as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let sink = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                sink.0.0.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
                sink.0.1.notify_all();
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    fn wait(&self, from: usize, claim: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap();
        let mut seen = from;
        loop {
            if let Some(line) = lines[seen.min(lines.len())..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = seen.max(lines.len());
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("no such line within {PATIENCE:?}: {claim}");
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}
