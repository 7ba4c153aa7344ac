//! How does a command reach the weir that runs? Over its admin listener, which the configuration names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::healthcheck::reachable;
use crate::config::model::AdminListen;
use crate::config::{self, Env};

/// Where weir's admin listener is, and what opens it.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// The admin listener: 127.0.0.1:9000, or the path of its socket [default: what the configuration says]
    #[arg(long, value_name = "ADDR|PATH", value_parser = listen)]
    pub admin: Option<AdminListen>,
    /// The token that levers need over TCP [default: what the configuration says]
    #[arg(long, env = "WEIR_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// The configuration whose weir is meant.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// The configuration of the weir that is meant [default: $WEIR_CONFIG, ./upstream.toml, /etc/weir/upstream.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A way to the admin API.
#[derive(Clone, Debug)]
pub struct Asker {
    admin: AdminListen,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Value,
}

/// What the body of an answer says.
///
/// # Errors
/// It is not what was asked for, as a weir of another version may answer.
pub fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    T::deserialize(body).map_err(|error| format!("weir's answer makes no sense: {error}"))
}

/// Longer than the slowest answer: a reload of a large file.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer: the status of some 100,000 peers.
const LARGEST: usize = 64 << 20;

impl Asker {
    /// By the arguments, else by the configuration: a mistake in the file must not keep anybody from the weir that goes on
    /// with the one in force, so then it is the usual place.
    ///
    /// # Errors
    /// The configuration has no admin listener.
    pub fn new(args: &AdminArgs, config: Option<&Path>) -> Result<Asker, String> {
        let here = Env::process(Path::new("."));
        let load = |named: Option<&Path>| {
            let path = config::find(named, &here).ok()?;
            config::load(&path, &Env::beside(&path)).ok()
        };
        let configured = load(config).or_else(|| load(None)).map(|loaded| loaded.config.admin);
        let token = args.token.clone().or_else(|| configured.as_ref()?.token.clone());
        let admin = match (&args.admin, configured) {
            (Some(admin), _) => admin.clone(),
            (None, Some(admin)) => {
                admin.listen.ok_or("the configuration has no admin listener: `listen` is \"off\"")?
            }
            (None, None) => AdminListen::Unix(here.admin_socket().to_owned()),
        };
        Ok(Asker { admin, token: token.filter(|token| !token.is_empty()) })
    }

    /// Where it asks.
    pub fn place(&self) -> String {
        match &self.admin {
            AdminListen::Unix(path) => path.display().to_string(),
            AdminListen::Tcp(address) => address.to_string(),
        }
    }

    /// GET.
    ///
    /// # Errors
    /// Nobody answers, or not in JSON; in a sentence.
    pub async fn get(&self, target: &str) -> Result<Answer, String> {
        self.ask(Method::GET, target, None).await
    }

    /// POST, with a body of JSON or none.
    ///
    /// # Errors
    /// As [`get`](Asker::get).
    pub async fn post(&self, target: &str, body: Option<Value>) -> Result<Answer, String> {
        self.ask(Method::POST, target, body).await
    }

    async fn ask(&self, method: Method, target: &str, body: Option<Value>) -> Result<Answer, String> {
        let place = self.place();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let host = match &self.admin {
            AdminListen::Unix(_) => "localhost".to_owned(),
            AdminListen::Tcp(address) => reachable(*address).to_string(),
        };
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, host);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|_| "the token has characters that no field can carry".to_owned())?;
        let asking = async {
            match &self.admin {
                AdminListen::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|error| unreachable(&place, &error))?;
                    exchange(stream, request).await
                }
                AdminListen::Tcp(address) => {
                    let stream =
                        TcpStream::connect(reachable(*address)).await.map_err(|error| unreachable(&place, &error))?;
                    exchange(stream, request).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| Err(format!("weir at {place} did not answer within {PATIENCE:?}")))
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let broken = |error: &dyn std::fmt::Display| format!("weir broke off: {error}");
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| format!("weir broke off: {error}"))?.to_bytes();
        let body =
            serde_json::from_slice(&body).map_err(|_| "what answers there is not weir's admin API".to_owned())?;
        Ok(Answer { status, body })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The answer may have come with the end of the connection.
        _ = &mut connection => answer.await,
    }
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// What the API says.
    pub fn success(self) -> Result<Value, String> {
        match self.status {
            200..=299 => Ok(self.body),
            status => Err(self.error().unwrap_or_else(|| format!("weir answered {status}"))),
        }
    }

    /// The sentence of a failure.
    pub fn error(&self) -> Option<String> {
        self.body["error"]["text"].as_str().map(str::to_owned)
    }
}

fn unreachable(place: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let why = match error.kind() {
        NotFound => "there is no such socket: does weir run?".to_owned(),
        ConnectionRefused => "nobody answers: does weir run?".to_owned(),
        PermissionDenied => "no permission: ask as the user that runs weir".to_owned(),
        _ => error.to_string(),
    };
    format!("no weir at {place}: {why} (--admin says where else to look)")
}

fn listen(text: &str) -> Result<AdminListen, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.contains('/') {
        return match text.strip_prefix("http://") {
            Some(address) => listen(address.trim_end_matches('/')),
            None => Ok(AdminListen::Unix(path.into())),
        };
    }
    let address = text.replacen("localhost", "127.0.0.1", 1);
    address.parse().map(AdminListen::Tcp).map_err(|_| "write 127.0.0.1:9000, or the path of a socket".to_owned())
}

/// `user@host`, for whoever reads who pulled a lever.
pub(super) fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let uid = || format!("uid {}", rustix::process::getuid().as_raw());
    let user = named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(uid);
    let system = rustix::system::uname();
    format!("{user}@{}", system.nodename().to_string_lossy())
}

/// Runs a command that talks to weir, and says on stderr why it failed (1).
pub(super) fn block_on(
    command: impl Future<Output = Result<std::process::ExitCode, String>>,
) -> std::process::ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(|error| format!("cannot start: {error}")).and_then(|runtime| runtime.block_on(command));
    result.unwrap_or_else(|why| {
        anstream::eprintln!("weir: {why}");
        std::process::ExitCode::FAILURE
    })
}

/// A target with this text as the value of a query.
pub(super) fn query(target: &str, key: &str, value: &str) -> String {
    let encoded: String = value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("{target}?{key}={encoded}")
}

/// A time as nginx writes it, `10m`, of more than nothing.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    match config::units::time(text, config::units::TimeUnit::Milliseconds) {
        Ok(Duration::ZERO) => Err("it must be more than nothing".to_owned()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_listener_is_written_as_an_address_or_a_path() {
        let tcp = |text: &str| AdminListen::Tcp(text.parse().expect("an address"));
        let unix = |text: &str| AdminListen::Unix(text.into());
        for (text, expected) in [
            ("127.0.0.1:9000", Some(tcp("127.0.0.1:9000"))),
            ("http://127.0.0.1:9000/", Some(tcp("127.0.0.1:9000"))),
            ("localhost:9000", Some(tcp("127.0.0.1:9000"))),
            ("[::1]:9000", Some(tcp("[::1]:9000"))),
            ("/run/weir/weir.sock", Some(unix("/run/weir/weir.sock"))),
            ("unix:/run/weir.sock", Some(unix("/run/weir.sock"))),
            ("./weir.sock", Some(unix("./weir.sock"))),
            ("9000", None),
            ("weir", None),
            ("", None),
        ] {
            assert_eq!(listen(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_peer_survives_a_query() {
        assert_eq!(query("/status", "peer", "web/app:5000&x"), "/status?peer=web%2Fapp%3A5000%26x");
    }
}
