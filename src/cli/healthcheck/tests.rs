use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::demo::backend;

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

/// The lines, with `…` for each time.
async fn lines(words: &[&str], own_admin: impl FnOnce() -> Result<AdminListen, String>) -> (bool, Vec<String>) {
    let args = args(words).expect("valid arguments");
    let expect = args.expectation().expect("valid expectations");
    let tls = None;
    let plan = Plan { expect, tls, timeout: args.timeout, retries: args.retries, interval: args.interval };
    let reports = ask::all(plan, asked(&args, own_admin)).await;
    let stable = |line: &str| {
        let (head, took) = line.rsplit_once(", took ").expect("each line says how long it took");
        let (ms, rest) = took.split_once("ms").expect("in milliseconds");
        assert!(ms.parse::<u64>().is_ok(), "{line}");
        format!("{head}, took …{rest}")
    };
    (reports.iter().all(|report| report.healthy), reports.iter().map(|report| stable(&report.line)).collect())
}

async fn line(words: &[&str], own_admin: impl FnOnce() -> Result<AdminListen, String>) -> (bool, String) {
    let (healthy, lines) = lines(words, own_admin).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    (healthy, lines.concat())
}

/// An application that answers each connection with the next of these, and the last one for ever.
async fn application(answers: &'static [&'static str]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answers[count.fetch_add(1, Relaxed).min(answers.len() - 1)];
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

#[test]
fn what_cannot_be_asked_is_a_usage_error() {
    for words in [
        &["ftp://app/"][..],
        &["http://"],
        &["http://user:secret@app/"],
        &["http://app:0/"],
        &["http://app:99999/"],
        &["http://app:/"],
        &["http://a b/"],
        &["http://:80/"],
        &["-u", "ftp://app/"],
        &["--tcp", "app"],
        &["--grpc", "app"],
        &["--settings", "settings.json"],
        &["https://app/", "--insecure", "--ca-file", "ca.pem"],
        &["-t", "0"],
        &["-t", "soon"],
        &["-t", "2h30"],
        &["-t", "99999999999s"],
        &["--retries", "-1"],
        &["--interval", "0"],
        &["--expect-status", ""],
        &["--expect-status", "20"],
        &["--expect-status", "300-200"],
        &["--expect-status", "200;204"],
        &["--expect-body", "("],
        &["--expect-body", ""],
        &["--expect", "status = ok"],
    ] {
        assert_eq!(args(words).expect_err(&words.join(" ")).exit_code(), 2, "{words:?}");
    }
}

#[test]
fn one_thing_is_tested_once_and_only_of_those_who_say_it() {
    for words in [
        &["http://app/", "--expect-status", "200", "--expect", "status 204"][..],
        &["http://app/", "--expect-body", "a", "--expect", "body ~ b"],
    ] {
        assert!(args(words).expect("words").expectation().is_err(), "{words:?}");
    }
    let tests = |words: &[&str]| args(words).expect("words").expects_in_vain();
    assert!(tests(&["--tcp", "redis:6379", "--expect-body", "PONG"]));
    assert!(!tests(&["--tcp", "redis:6379", "http://app/", "--expect-body", "ok"]));
    assert!(!tests(&["--expect-status", "200"]));
}

#[test]
fn times_and_statuses_are_read_as_documented() {
    for (text, ms) in [("900ms", 900), ("2s", 2_000), ("1m", 60_000), ("1500", 1_500)] {
        assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
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
    assert_eq!(line(&["-u", &health], no_weir).await, (true, format!("status OK, url {health}, took …")));
    assert_eq!(
        line(&[&health, "--expect-status", "204"], no_weir).await,
        (false, format!("status FAILED, url {health}, GET /health answered 200, took …"))
    );
    let nothing = at("/nothing");
    let no_route = "GET /nothing answered 404: the application has no such route";
    assert_eq!(line(&[&nothing], no_weir).await, (false, format!("status FAILED, url {nothing}, {no_route}, took …")));
    let slow = at("/slow?ms=60000");
    assert_eq!(
        line(&[&slow, "-t", "50"], no_weir).await,
        (false, format!("status FAILED, url {slow}, no answer within 50ms, took …"))
    );
    let by_name = format!("http://localhost:{port}/health");
    assert_eq!(line(&[&by_name], no_weir).await, (true, format!("status OK, url {by_name}, took …")));
}

#[tokio::test]
async fn a_body_is_judged_by_the_words_of_match() {
    const DOWN: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"status\": \"down\"}";
    let (port, _) = application(&[DOWN]).await;
    let url = format!("http://127.0.0.1:{port}/health");
    for (words, why) in [
        (&["--expect", "status == down"][..], None),
        (&["--expect", "status == ok"], Some(r#"`status == ok` is wrong: it is "down""#)),
        (&["--expect", "json status == ok"], Some(r#"`status == ok` is wrong: it is "down""#)),
        (&["--expect", "status", "--expect", "! error"], None),
        (&["--expect-body", "down"], None),
        (&["--expect-body", "up"], Some("the body does not match")),
        (&["--expect-body", "!~ down"], Some("the body matches what it must not")),
        (&["--expect", "header content-type ~ json"], None),
        (&["--expect", "header ! content-type"], Some("the field content-type is present")),
    ] {
        let told = line(&[&[url.as_str()], words].concat(), no_weir).await;
        let expected = match why {
            None => (true, format!("status OK, url {url}, took …")),
            Some(why) => (false, format!("status FAILED, url {url}, GET /health answered 200, but {why}, took …")),
        };
        assert_eq!(told, expected, "{words:?}");
    }
}

#[tokio::test]
async fn of_several_all_must_be_healthy_and_each_has_its_line() {
    let (port, _) = application(&["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"]).await;
    let url = format!("http://127.0.0.1:{port}/");
    let tcp = format!("127.0.0.1:{port}");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound").to_string();
    let (healthy, told) = lines(&["--tcp", &tcp, &url, "--tcp", &closed], no_weir).await;
    assert!(!healthy);
    assert_eq!(
        told,
        [
            format!("status OK, url {url}, took …"),
            format!("status OK, tcp {tcp}, took …"),
            format!("status FAILED, tcp {closed}, connection refused, took …"),
        ]
    );
    assert!(lines(&["--tcp", &tcp, &url], no_weir).await.0);
}

#[tokio::test]
async fn who_fails_is_asked_again_as_often_as_is_said() {
    const SICK: &str = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
    const WELL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (port, asked) = application(&[SICK, SICK, WELL]).await;
    let url = format!("http://127.0.0.1:{port}/");
    let told = line(&[&url, "--retries", "5", "--interval", "1ms"], no_weir).await;
    assert_eq!((told, asked.load(Relaxed)), ((true, format!("status OK, url {url}, took … in 3 tries")), 3));

    let (port, asked) = application(&[SICK]).await;
    let url = format!("http://127.0.0.1:{port}/");
    let told = line(&[&url, "--retries", "1", "--interval", "1ms"], no_weir).await;
    let line = format!("status FAILED, url {url}, GET / answered 503, took … in 2 tries");
    assert_eq!((told, asked.load(Relaxed)), ((false, line), 2));
}

#[tokio::test]
async fn a_setting_names_the_url() {
    let (port, _) = application(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.json");
    let url = format!("http://127.0.0.1:{port}/rng");
    let text = format!(r#"{{"RngApi": {{"Url": "{url}", "Name": "nonsense://"}}}}"#);
    std::fs::write(&file, text).expect("it can be written");
    let file = file.to_str().expect("a plain name");
    let asked = line(&["-c", "RngApi:Url", "--settings", file, "-t", "900"], no_weir).await;
    assert_eq!(asked, (true, format!("status OK, url {url}, took …")));
    let (healthy, told) = line(&["-c", "RngApi:None", "--settings", file], no_weir).await;
    assert!(!healthy && told.starts_with("status FAILED, key RngApi:None, not set: looked at "), "{told}");
    let (healthy, told) = line(&["-c", "RngApi:Name", "--settings", file], no_weir).await;
    assert!(!healthy && told.contains("key RngApi:Name, its value is no URL that can be asked: "), "{told}");
}

#[tokio::test]
async fn nobody_listening_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    for (words, who) in [
        ([format!("http://{address}/")].to_vec(), format!("url http://{address}/")),
        (["--tcp".into(), address.to_string()].to_vec(), format!("tcp {address}")),
        (["--grpc".into(), format!("{address}/shop.Cart")].to_vec(), format!("grpc {address}/shop.Cart")),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let told = line(&words, no_weir).await;
        assert_eq!(told, (false, format!("status FAILED, {who}, connection refused, took …")));
    }
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
    assert_eq!(absent, (false, format!("status FAILED, url {shown}, no such socket, took …")));

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
    assert_eq!(off, (false, "status FAILED, url of this weir, the admin listener is off, took …".into()));
}
