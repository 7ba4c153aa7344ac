//! Is the application at this URL, or this container's weir, healthy? `weir healthcheck`, for a container's
//! HEALTHCHECK: one line, and an exit code.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Uri;
use http::uri::Scheme;

use crate::clock::Clock;
use crate::config::model::{AdminListen, CheckKind, Expect, HealthCheck, StatusSet};
use crate::net::resolver::{Answer, Resolver};
use crate::probe::{Probe, Seen};

/// Arguments of `weir healthcheck`.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {
    /// What to ask, such as `http://app:5000/health`; without it, this container's weir is asked for `/healthz`
    #[arg(value_parser = url)]
    pub url: Option<Url>,
    /// How long it may take in all: 900ms, 2s, or plain milliseconds
    #[arg(short, long, default_value = "2s", value_name = "TIME", value_parser = timeout)]
    pub timeout: Duration,
    /// Which answers are healthy: 200, 200-299, "200 204", "! 500-599"
    #[arg(long, default_value = "200-399", value_name = "STATUS", value_parser = status_set)]
    pub expect_status: StatusSet,
}

/// An `http` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
    /// The host, and the port if it was written: the Host field.
    authority: String,
    target: String,
}

/// Prints one line and exits with 0 if healthy, 1 if not. `own_admin` tells where the admin listener of this
/// container's weir is, or why there is none; it is asked only when there is no URL.
pub fn run(args: &HealthcheckArgs, own_admin: impl FnOnce() -> Result<AdminListen, String>) -> ExitCode {
    // One thread: it is up in less than a millisecond, and there is one thing to do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = match runtime {
        Ok(runtime) => runtime.block_on(check(args, own_admin)),
        Err(error) => Report { healthy: false, line: format!("status FAIL, cannot start: {error}") },
    };
    // Nobody may be listening any more; the exit code still says it.
    let _ = writeln!(io::stdout(), "{}", report.line);
    ExitCode::from(if report.healthy { 0 } else { 1 })
}

#[derive(Debug)]
struct Report {
    healthy: bool,
    line: String,
}

async fn check(args: &HealthcheckArgs, own_admin: impl FnOnce() -> Result<AdminListen, String>) -> Report {
    let clock = Clock::process();
    let began = clock.now();
    let (shown, seen) = match &args.url {
        Some(url) => (url.to_string(), ask_url(args, url).await),
        None => match own_admin() {
            Ok(admin) => ask_weir(args, &admin).await,
            Err(why) => ("of this weir".into(), Err(why)),
        },
    };
    let took = clock.now().since(began).as_millis();
    match seen {
        Ok(()) => Report { healthy: true, line: format!("status OK, url {shown}, took {took}ms") },
        Err(why) => Report { healthy: false, line: format!("status FAIL, url {shown}, {why}") },
    }
}

async fn ask_url(args: &HealthcheckArgs, url: &Url) -> Result<(), String> {
    let probe = probe(args, &url.target, &url.authority);
    let asking = async {
        let addrs = match Resolver::new(&[], None).resolve(&url.host).await {
            Answer::Found { addrs, .. } => addrs,
            Answer::NoSuchName => return Err(format!("no such name: {}", url.host)),
            Answer::Failed(why) => return Err(format!("cannot resolve {}: {why}", url.host)),
        };
        let mut refused = Ok(());
        for addr in addrs {
            match probe.look(SocketAddr::new(addr, url.port)).await.seen {
                // The application may listen on another address of the name.
                seen @ Seen::Unreachable { .. } => refused = verdict(seen),
                seen => return verdict(seen),
            }
        }
        refused
    };
    let late = |_| Err(format!("no answer within {:?}", args.timeout));
    tokio::time::timeout(args.timeout, asking).await.unwrap_or_else(late)
}

/// What was asked, as nginx writes a URL over a unix socket, and the answer.
async fn ask_weir(args: &HealthcheckArgs, admin: &AdminListen) -> (String, Result<(), String>) {
    let probe = |host: &str| probe(args, "/healthz", host);
    match admin {
        AdminListen::Unix(socket) => {
            let seen = probe("localhost").look_at_unix(socket).await.seen;
            (format!("http://unix:{}:/healthz", socket.display()), verdict(seen))
        }
        AdminListen::Tcp(addr) => {
            let addr = reachable(*addr);
            (format!("http://{addr}/healthz"), verdict(probe(&addr.to_string()).look(addr).await.seen))
        }
    }
}

/// Where to reach whoever listens on this address from the same machine.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    addr
}

/// One look: the thresholds of a check have nothing to count.
fn probe(args: &HealthcheckArgs, target: &str, host: &str) -> Probe {
    let expect = Expect { status: Some(args.expect_status.clone()), headers: Vec::new(), body: None };
    let check = HealthCheck {
        kind: CheckKind::Http { uri: target.into(), host: None, expect },
        interval: Duration::ZERO,
        jitter: Duration::ZERO,
        timeout: args.timeout,
        fails: 1,
        passes: 1,
        port: None,
    };
    Probe::new(&check, host)
}

fn verdict(seen: Seen) -> Result<(), String> {
    match seen {
        Seen::Pass => Ok(()),
        Seen::BadStatus { detail } | Seen::Unreachable { detail } | Seen::TimedOut { detail } => {
            Err(detail.to_string())
        }
        Seen::DrainingItself => Err("the application is shutting down".into()),
    }
}

fn url(text: &str) -> Result<Url, String> {
    let written = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = written.parse().map_err(|_| "not a URL; write it as http://HOST[:PORT][/PATH]".to_owned())?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        _ => return Err("only http:// can be asked".into()),
    }
    let authority = uri.authority().ok_or("the host is missing")?;
    if authority.as_str().contains('@') {
        return Err("a user name in a URL is not sent; leave it out".into());
    }
    // The parser takes a port out of range for none at all.
    let port = match authority.as_str()[authority.host().len()..].strip_prefix(':').map(str::parse) {
        None => 80,
        Some(Ok(port @ 1..)) => port,
        Some(_) => return Err("the port must be a number from 1 to 65535".into()),
    };
    Ok(Url {
        host: authority.host().into(),
        port,
        authority: authority.as_str().into(),
        target: uri.path_and_query().map_or("/", |target| target.as_str()).into(),
    })
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("write it as 900ms, 2s, or plain milliseconds".into()),
    };
    match digits.parse::<u32>() {
        Ok(n @ 1..) => Ok(Duration::from_millis(u64::from(n) * unit)),
        _ => Err("write it as 900ms, 2s, or plain milliseconds; more than zero".into()),
    }
}

fn status_set(text: &str) -> Result<StatusSet, String> {
    let (negated, list) = match text.trim().strip_prefix('!') {
        Some(list) => (true, list),
        None => (false, text),
    };
    let code = |text: &str| text.parse().ok().filter(|code| (100..=599).contains(code));
    let range = |text: &str| {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        code(low).zip(code(high)).filter(|(low, high)| low <= high)
    };
    let words = list.split([' ', ',']).filter(|word| !word.is_empty());
    match words.map(range).collect::<Option<Vec<_>>>() {
        Some(ranges) if !ranges.is_empty() => Ok(StatusSet { negated, ranges }),
        _ => Err("write it as 200, 200-299, \"200 204\" or \"! 500-599\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::backend;
    use clap::Parser;
    use std::path::PathBuf;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};
    use tokio_util::sync::CancellationToken;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: HealthcheckArgs,
    }

    fn args(words: &[&str]) -> Result<HealthcheckArgs, clap::Error> {
        Command::try_parse_from([&["healthcheck"], words].concat()).map(|command| command.args)
    }

    fn no_weir() -> Result<AdminListen, String> {
        Err("the admin listener is off".into())
    }

    async fn line(words: &[&str], own_admin: impl FnOnce() -> Result<AdminListen, String>) -> (bool, String) {
        let report = check(&args(words).expect("valid arguments"), own_admin).await;
        let line = report.line;
        let stable = line.split_once(", took ").map_or(line.clone(), |(head, took)| {
            assert!(took.ends_with("ms"), "{line}");
            format!("{head}, took …")
        });
        (report.healthy, stable)
    }

    #[test]
    fn a_url_may_leave_out_scheme_port_and_path() {
        for (text, shown, host, port) in [
            ("http://app:5000/health", "http://app:5000/health", "app", 5000),
            ("app:5000/health?deep=1", "http://app:5000/health?deep=1", "app", 5000),
            ("http://app", "http://app/", "app", 80),
            ("http://pyfla_app1:5000", "http://pyfla_app1:5000/", "pyfla_app1", 5000),
            ("http://[::1]:5000/x", "http://[::1]:5000/x", "[::1]", 5000),
        ] {
            let url = url(text).expect(text);
            assert_eq!((url.to_string().as_str(), url.host.as_str(), url.port), (shown, host, port));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_a_usage_error() {
        for words in [
            &["https://app/"][..],
            &["ftp://app/"],
            &["http://"],
            &["http://user:secret@app/"],
            &["http://app:0/"],
            &["http://app:99999/"],
            &["http://app:/"],
            &["http://a b/"],
            &["-t", "0"],
            &["-t", "soon"],
            &["-t", "2h30"],
            &["-t", "99999999999s"],
            &["--expect-status", ""],
            &["--expect-status", "20"],
            &["--expect-status", "300-200"],
            &["--expect-status", "200;204"],
        ] {
            assert_eq!(args(words).expect_err(&words.join(" ")).exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn times_and_statuses_are_read_as_documented() {
        for (text, ms) in [("900ms", 900), ("2s", 2_000), ("1m", 60_000), ("1500", 1_500)] {
            assert_eq!(timeout(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, negated, ranges) in [
            ("200", false, &[(200, 200)][..]),
            ("200-299", false, &[(200, 299)]),
            ("200 204,301", false, &[(200, 200), (204, 204), (301, 301)]),
            ("! 500-599", true, &[(500, 599)]),
        ] {
            assert_eq!(status_set(text), Ok(StatusSet { negated, ranges: ranges.to_vec() }), "{text}");
        }
    }

    #[tokio::test]
    async fn an_application_is_asked_and_its_answer_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(backend::serve(listener, 1, CancellationToken::new()));
        let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
        let health = at("/health");

        assert_eq!(line(&[&health], no_weir).await, (true, format!("status OK, url {health}, took …")));
        assert_eq!(
            line(&[&health, "--expect-status", "204"], no_weir).await,
            (false, format!("status FAIL, url {health}, GET /health answered 200"))
        );
        let nothing = at("/nothing");
        let no_route = "GET /nothing answered 404: the application has no such route";
        assert_eq!(line(&[&nothing], no_weir).await, (false, format!("status FAIL, url {nothing}, {no_route}")));
        let slow = at("/slow?ms=5000");
        assert_eq!(
            line(&[&slow, "-t", "50ms"], no_weir).await,
            (false, format!("status FAIL, url {slow}, no answer within 50ms"))
        );
        let by_name = format!("http://localhost:{port}/health");
        assert_eq!(line(&[&by_name], no_weir).await, (true, format!("status OK, url {by_name}, took …")));
    }

    #[tokio::test]
    async fn nobody_listening_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        drop(listener);
        assert_eq!(line(&[&url], no_weir).await, (false, format!("status FAIL, url {url}, connection refused")));
    }

    #[tokio::test]
    async fn without_a_url_this_containers_weir_is_asked_over_its_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("weir.sock");
        let shown = format!("http://unix:{}:/healthz", socket.display());
        let own = |socket: &PathBuf| {
            let socket = socket.clone();
            move || Ok(AdminListen::Unix(socket))
        };

        let absent = line(&[], own(&socket)).await;
        assert_eq!(absent, (false, format!("status FAIL, url {shown}, no such socket")));

        let listener = UnixListener::bind(&socket).expect("a socket");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await?;
            let status = if head[..length].starts_with(b"GET /healthz HTTP/1.1\r\n") { 200 } else { 500 };
            stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes()).await
        });
        assert_eq!(line(&[], own(&socket)).await, (true, format!("status OK, url {shown}, took …")));

        let off = line(&[], no_weir).await;
        assert_eq!(off, (false, "status FAIL, url of this weir, the admin listener is off".into()));
    }

    #[test]
    fn a_weir_that_listens_everywhere_is_asked_on_loopback() {
        for (listen, reached) in
            [("0.0.0.0:9000", "127.0.0.1:9000"), ("[::]:9000", "[::1]:9000"), ("10.0.0.1:9000", "10.0.0.1:9000")]
        {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), reached);
        }
    }
}
