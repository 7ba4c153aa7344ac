//! What do these tests stand on? A weir as a process, applications as closures on a socket, clients that send bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so.
pub fn eventually(claim: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {claim}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A repeatable sequence of numbers, for stories that take many turns.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A configuration of one group behind one location.
#[derive(Default)]
pub struct Site {
    pub top: &'static str,
    pub upstream: &'static str,
    pub location: &'static str,
    /// What stands behind each address in `servers`.
    pub server: &'static str,
}

/// A running weir, killed when dropped.
pub struct Weir {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Site {
    pub fn start(&self, apps: &[&App]) -> Weir {
        let Site { top, upstream, location, server } = self;
        let servers: Vec<String> =
            apps.iter().map(|app| format!("{{ address = \"{}\", {server} }}", app.address)).collect();
        let toml = format!(
            "access_log = \"off\"\n{top}\n[admin]\nlisten = \"off\"\n[upstream.web]\nservers = [{}]\n{upstream}\n\
             [[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n\
             {location}\n",
            servers.join(", ").replace(", }", " }")
        );
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("upstream.toml"), toml).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "-c", "upstream.toml"])
            .current_dir(folder.path())
            .env("NO_COLOR", "1")
            .env_remove("WEIR_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().expect("stderr is piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line));
        });
        let mut weir = Weir { child, log, address: ([127, 0, 0, 1], 0).into(), folder };
        eventually("it listens", || {
            let said =
                weir.log().iter().find_map(|line| line.split_once("listening on http://")?.1.trim().parse().ok());
            weir.address = said.unwrap_or(weir.address);
            said.is_some() || weir.child.try_wait().unwrap().is_some()
        });
        assert_ne!(weir.address.port(), 0, "it did not start:\n{}", weir.log().join("\n"));
        weir
    }
}

impl Weir {
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Where it has begun to listen, in order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let said = |line: &String| line.split_once("listening on http://")?.1.trim().parse().ok();
        self.log().iter().filter_map(said).collect()
    }

    /// Changes the configuration.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.folder.path().join("upstream.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file.with_extension("new"), text.replace(from, to)).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }

    pub fn says(&self, words: &str) -> bool {
        self.log().iter().any(|line| line.contains(words))
    }

    pub fn client(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address).expect("it accepts"))
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        let mut client = self.client();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.answer().expect("an answer")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- weir's log\n{}", self.log().join("\n"));
        }
    }
}

/// An application: what it does on each connection is up to the test. Its threads end with their connections.
pub struct App {
    pub address: SocketAddr,
}

impl App {
    pub fn start(serve: impl Fn(Wire) + Send + Sync + 'static) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(Wire::new(stream)));
            }
        });
        App { address }
    }

    /// Answers every request with this body, once it was read whole, and keeps the connection.
    pub fn saying(body: &'static str) -> App {
        App::start(move |mut wire| while wire.request().is_some() && wire.try_send(&ok(body)).is_some() {})
    }
}

/// A 200 with a length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// One end of a connection.
pub struct Wire {
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

/// An answer with a length or without a body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A request as an application sees it, once its body has come.
#[derive(Debug)]
pub struct Request {
    pub head: String,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, ahead: Vec::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("it can be sent");
    }

    pub fn try_send(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).ok()
    }

    /// The next head, with its empty line.
    pub fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            self.more()?;
        }
    }

    pub fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            self.more()?;
        }
        Some(self.ahead.drain(..count).collect())
    }

    /// The next request, with its body of known length.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        self.bytes(length(&head))?;
        Some(Request { head })
    }

    /// The next final answer; `None` if the connection ends before it is whole.
    pub fn answer(&mut self) -> Option<Answer> {
        let head = self.head()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        if status == 100 {
            return self.answer();
        }
        let body = String::from_utf8_lossy(&self.bytes(length(&head))?).into_owned();
        Some(Answer { status, head, body })
    }

    /// All that comes until the end; a reset is an error.
    pub fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.ahead);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.ahead.extend_from_slice(&bytes[..n]);
                Some(())
            }
        }
    }
}

/// What a head says of its body's length.
fn length(head: &str) -> usize {
    let lines = head.lines().map(str::to_ascii_lowercase);
    lines.filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).next().unwrap_or(0)
}
