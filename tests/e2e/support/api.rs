//! What do other systems answer that know where peers are? Stand-ins for Docker's engine and for Consul, written
//! from the documentation of their APIs: the same JSON where weir reads it. docker/tests/labels.sh asks the engine itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::PATIENCE;

/// A Docker engine that speaks versions 1.44 to 1.52 of its API, on a socket.
pub struct Engine {
    state: Arc<(Mutex<EngineState>, Condvar)>,
}

#[derive(Default)]
struct EngineState {
    containers: Vec<Container>,
    /// All that happened, one JSON object each.
    events: Vec<String>,
    targets: Vec<String>,
    /// Counts how often the streams of events were cut.
    cut: usize,
}

/// A container: its name, its labels, its network's name and its address there.
#[derive(Clone)]
pub struct Container {
    pub name: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub address: SocketAddr,
}

impl Engine {
    pub fn start(socket: &Path) -> Engine {
        let state = Arc::new((Mutex::new(EngineState::default()), Condvar::new()));
        let listener = UnixListener::bind(socket).expect("the socket's folder exists");
        let known = state.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = known.clone();
                thread::spawn(move || {
                    let writer = stream.try_clone().expect("descriptors suffice");
                    serve_engine(stream, writer, &known);
                });
            }
        });
        Engine { state }
    }

    /// A container runs from now on.
    pub fn runs(&self, container: Container) {
        let event = event("start", container.name, "");
        self.change(|state| {
            state.containers.push(container);
            state.events.push(event);
        });
    }

    /// A signal is sent to a container's process, which lives on for the moment.
    pub fn kills(&self, name: &str, signal: &str) {
        let event = event("kill", name, &format!(", \"signal\": \"{signal}\""));
        self.change(|state| state.events.push(event));
    }

    /// A container's process is dead.
    pub fn buries(&self, name: &str) {
        let event = event("die", name, ", \"exitCode\": \"143\"");
        self.change(|state| {
            state.containers.retain(|container| container.name != name);
            state.events.push(event);
        });
    }

    /// Containers change while nobody is told, and all streams of events end, as when the engine is started anew.
    pub fn restarts_with(&self, containers: Vec<Container>) {
        self.change(|state| {
            state.containers = containers;
            state.cut += 1;
        });
    }

    /// What it was asked for.
    pub fn targets(&self) -> Vec<String> {
        self.state.0.lock().unwrap().targets.clone()
    }

    fn change(&self, change: impl FnOnce(&mut EngineState)) {
        change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
    }
}

/// As `docker events --format json` showed it, shortened to what is read and a little more.
fn event(action: &str, name: &str, more: &str) -> String {
    format!(
        "{{\"status\": \"{action}\", \"id\": \"id-{name}\", \"Type\": \"container\", \"Action\": \"{action}\", \"Actor\": \
         {{\"ID\": \"id-{name}\", \"Attributes\": {{\"image\": \"app\", \"name\": \"{name}\"{more}}}}}, \"scope\": \"local\", \
         \"time\": 1763840000, \"timeNano\": 1763840000000000000}}"
    )
}

fn listed(container: &Container) -> serde_json::Value {
    let labels: serde_json::Map<_, _> =
        container.labels.iter().map(|(label, value)| ((*label).to_owned(), value.clone().into())).collect();
    serde_json::json!({
        "Id": format!("id-{}", container.name), "Names": [format!("/{}", container.name)], "Image": "app",
        "ImageID": "sha256:0", "Command": "python3 app.py", "Created": 1_763_840_000, "State": "running",
        "Ports": [{"PrivatePort": container.address.port(), "Type": "tcp"}], "Labels": labels,
        "Status": "Up 2 seconds", "HostConfig": {"NetworkMode": "alb_default"},
        "NetworkSettings": {"Networks": {"alb_default": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "", "NetworkID": "n", "EndpointID": "e",
            "Gateway": "172.18.0.1", "IPAddress": container.address.ip().to_string(), "IPPrefixLen": 16,
            "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null
        }}},
        "Mounts": []
    })
}

fn serve_engine(reader: impl Read, mut writer: impl Write, known: &(Mutex<EngineState>, Condvar)) {
    let Some((target, _)) = request(reader) else { return };
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut state = known.0.lock().unwrap();
    state.targets.push(target);
    if path == "/version" {
        let body = r#"{"Version": "29.0.1", "ApiVersion": "1.52", "MinAPIVersion": "1.44", "Os": "linux"}"#;
        return answer(&mut writer, "", body);
    }
    if path.ends_with("/containers/json") {
        let labelled = state.containers.iter().filter(|container| !container.labels.is_empty());
        let body = serde_json::Value::from(labelled.map(listed).collect::<Vec<_>>()).to_string();
        return answer(&mut writer, "Api-Version: 1.52\r\n", &body);
    }
    assert!(path.ends_with("/events"), "{path}");
    let head =
        "HTTP/1.1 200 OK\r\nApi-Version: 1.52\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut sent, cut) = (state.events.len(), state.cut);
    if writer.write_all(head.as_bytes()).is_err() {
        return;
    }
    while state.cut == cut {
        for event in &state.events[sent..] {
            if write!(writer, "{:x}\r\n{event}\n\r\n", event.len() + 1).is_err() {
                return;
            }
        }
        sent = state.events.len();
        state = known.1.wait_timeout(state, PATIENCE * 2).unwrap().0;
    }
}

/// A Consul agent that knows one service.
pub struct Agent {
    pub address: SocketAddr,
    state: Arc<(Mutex<AgentState>, Condvar)>,
}

struct AgentState {
    index: u64,
    passing: Vec<(SocketAddr, u32)>,
    requests: Vec<(String, String)>,
    broken: bool,
}

impl Agent {
    pub fn start() -> Agent {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().unwrap();
        let fresh = AgentState { index: 10, passing: Vec::new(), requests: Vec::new(), broken: false };
        let state = Arc::new((Mutex::new(fresh), Condvar::new()));
        let known = state.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = known.clone();
                thread::spawn(move || {
                    let writer = stream.try_clone().expect("descriptors suffice");
                    serve_agent(stream, writer, &known);
                });
            }
        });
        Agent { address, state }
    }

    /// These instances pass their checks from now on: address and weight.
    pub fn passes(&self, passing: &[(SocketAddr, u32)]) {
        self.change(|state| state.passing = passing.to_vec());
    }

    /// It answers with 500 from now on.
    pub fn breaks(&self) {
        self.change(|state| state.broken = true);
    }

    /// What it was asked for: target and head.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.state.0.lock().unwrap().requests.clone()
    }

    fn change(&self, change: impl FnOnce(&mut AgentState)) {
        let mut state = self.state.0.lock().unwrap();
        change(&mut state);
        state.index += 1;
        drop(state);
        self.state.1.notify_all();
    }
}

fn serve_agent(reader: impl Read, mut writer: impl Write, known: &(Mutex<AgentState>, Condvar)) {
    let Some((target, head)) = request(reader) else { return };
    let wanted: u64 =
        target.split("index=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok()).unwrap_or_default();
    let mut state = known.0.lock().unwrap();
    state.requests.push((target, head));
    // A blocking query: held back while nothing has changed.
    while state.index == wanted {
        state = known.1.wait_timeout(state, Duration::from_secs(60)).unwrap().0;
    }
    if state.broken {
        let body = "rpc error: No cluster leader";
        let _ = write!(writer, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        return;
    }
    let entry = |(address, weight): &(SocketAddr, u32)| {
        serde_json::json!({
            "Node": {"ID": "n", "Node": "n1", "Address": "10.9.9.9", "Datacenter": "dc1", "TaggedAddresses": {}},
            "Service": {"ID": format!("web-{address}"), "Service": "web", "Tags": ["blue"], "Address": address.ip().to_string(),
                "Port": address.port(), "Meta": null, "Weights": {"Passing": weight, "Warning": 1}},
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}]
        })
    };
    let body = serde_json::Value::from(state.passing.iter().map(entry).collect::<Vec<_>>()).to_string();
    let fields = format!("X-Consul-Index: {}\r\nX-Consul-Knownleader: true\r\n", state.index);
    answer(&mut writer, &fields, &body);
}

/// The target and the head of a GET.
fn request(reader: impl Read) -> Option<(String, String)> {
    let mut reader = BufReader::new(reader);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some((head.split(' ').nth(1)?.to_owned(), head))
}

fn answer(writer: &mut impl Write, fields: &str, body: &str) {
    // Whoever asked may have left.
    let _ = write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
}
