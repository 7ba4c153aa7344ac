//! What holds for the whole process? The top of the file, and `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::fields::{one_text, template, texts, unfit};
use super::section::{Section, Settings};
use super::server::overlap;
use super::setting::{plain, text_of, what};
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::model::{Admin, AdminListen, Config, LogFormat, LogTarget, RealIpHeader, Server, StreamServer};
use crate::config::suggest::closest;
use crate::config::template::Use;
use crate::config::written::Value;
use crate::config::{Env, TrustedProxies, address};
use crate::endpoint::Endpoint;

/// More threads than this are a mistake, not a machine.
const MAX_WORKERS: i128 = 1_024;

/// Everything but the upstreams.
pub(super) fn config(top: &Section<'_>, servers: Vec<Server>, streams: Vec<StreamServer>, admin: Admin) -> Config {
    Config {
        workers: workers(top),
        access_log: access_log(top),
        log_format: log_format(top),
        shutdown_timeout: top.time("shutdown_timeout"),
        trusted_proxies: trusted_proxies(top),
        real_ip_header: real_ip_header(top),
        resolver: resolver(top),
        resolver_valid: top.optional_time("resolver_valid"),
        state_file: state_file(top),
        takeover: takeover(top, &admin),
        docker_socket: PathBuf::from(top.text("docker_socket").unwrap_or_else(|| top.default_text("docker_socket"))),
        admin,
        upstreams: Vec::new(),
        servers,
        streams,
    }
}

/// `[admin]`.
pub(super) fn admin(top: &Section<'_>, servers: &[Server], streams: &[StreamServer], env: &Env) -> Admin {
    let default = Some(AdminListen::Unix(env.admin_socket().to_owned()));
    let Some(table) = top.table("admin") else { return Admin { listen: default, token: None } };
    let section = Section::read(Place::Admin, table, top.sink);
    let token = section.text("token");
    if token.as_deref() == Some("") {
        let place = section.node("token").map_or(section.span.clone(), |node| node.span.clone());
        let mistake = Diagnostic::error("`token` is empty: everybody would know it").at(place);
        section.sink.report(mistake.help("set one, or remove the line"));
    }
    let listen = match one_text(&section, "listen") {
        Some((text, plain)) => match parse_admin_listen(&plain, servers, streams) {
            Ok(listen) => listen,
            Err(why) => {
                let message = "`listen` of [admin] takes `\"unix:/PATH\"`, `\"127.0.0.1:9000\"` or `\"off\"`";
                section.sink.report(unfit(text, message.to_owned(), why));
                default
            }
        },
        None => default,
    };
    Admin { listen, token }
}

fn parse_admin_listen(text: &str, servers: &[Server], streams: &[StreamServer]) -> Result<Option<AdminListen>, Unfit> {
    if text == "off" {
        return Ok(None);
    }
    let address = address::listen(text)?;
    let same = |listen: &Endpoint| (*listen == address && address.port() != Some(0)) || overlap(listen, &address);
    if servers.iter().flat_map(|server| &server.listen).any(|listen| same(&listen.address)) {
        return Err(Unfit::because("a [[server]] listens there already"));
    }
    if streams.iter().flat_map(|stream| &stream.listen).any(|listen| !listen.udp && same(&listen.address)) {
        return Err(Unfit::because("a [[stream]] listens there already"));
    }
    Ok(Some(match address {
        Endpoint::Ip(address) => AdminListen::Tcp(address),
        Endpoint::Unix(path) => AdminListen::Unix(path.to_path_buf()),
    }))
}

fn workers(top: &Section<'_>) -> Option<usize> {
    let node = top.node("workers")?;
    let number = match &node.value {
        Value::Integer(number) => *number,
        Value::Text(text) => match plain(text, "workers") {
            Ok(plain) if plain == "auto" => return None,
            Ok(plain) if text.has_placeholder() => plain.parse().ok(),
            Ok(_) => None,
            Err(mistake) => {
                top.sink.report(*mistake);
                return None;
            }
        },
        Value::Broken => return None,
        _ => None,
    };
    let workers =
        number.filter(|number| (1..=MAX_WORKERS).contains(number)).and_then(|number| usize::try_from(number).ok());
    if workers.is_none() {
        let mistake = Diagnostic::error("`workers` takes `\"auto\"` or a number from 1 to 1024").at(node.span.clone());
        top.sink.report(match &node.value {
            Value::Integer(_) => mistake,
            Value::Text(text) if text.has_placeholder() => mistake.label("this stands for something else"),
            value => mistake.label(format!("this is {}", what(value))),
        });
    }
    workers
}

fn access_log(top: &Section<'_>) -> LogTarget {
    match one_text(top, "access_log") {
        None => LogTarget::Stdout,
        Some((text, plain)) => match plain.as_str() {
            "stdout" => LogTarget::Stdout,
            "stderr" => LogTarget::Stderr,
            "off" => LogTarget::Off,
            path if path.contains('/') && !path.ends_with('/') && !path.contains('\0') => {
                LogTarget::File(PathBuf::from(path))
            }
            other => {
                let why = match closest(other, ["stdout", "stderr", "off"]) {
                    Some(known) => Unfit::because("no such place").help(format!("did you mean `\"{known}\"`?")),
                    None => Unfit::because("no such place")
                        .help(format!("for a file, write its path with a slash: `\"./{}\"`", other.trim_matches('/'))),
                };
                let message = "`access_log` takes `\"stdout\"`, `\"stderr\"`, `\"off\"` or the path of a file";
                top.sink.report(unfit(text, message.to_owned(), why));
                LogTarget::Stdout
            }
        },
    }
}

fn log_format(top: &Section<'_>) -> LogFormat {
    let Some(node) = top.node("log_format") else { return LogFormat::Combined };
    let takes = "`log_format` takes `\"combined\"`, `\"json\"` or a template";
    let Some(text) = text_of(node, takes, top.sink) else { return LogFormat::Combined };
    match text.template().as_str() {
        "combined" => LogFormat::Combined,
        "json" => LogFormat::Json,
        _ => match template(text, "log_format", Use::Log, top.sink) {
            Some(template) if template.is_constant() => {
                let why = Unfit::because("there is no variable in it");
                let why = match closest(text.shown(), ["combined", "json"]) {
                    Some(known) => why.help(format!("did you mean `\"{known}\"`?")),
                    None => why.help("write `\"$remote_addr $status $request_time\"`"),
                };
                let message = "`log_format` takes `\"combined\"`, `\"json\"` or a template";
                top.sink.report(unfit(text, message.to_owned(), why));
                LogFormat::Combined
            }
            Some(template) => LogFormat::Template(template),
            None => LogFormat::Combined,
        },
    }
}

fn trusted_proxies(top: &Section<'_>) -> TrustedProxies {
    let (mut networks, mut unix) = (Vec::new(), false);
    for (text, plain) in texts(top, "trusted_proxies") {
        if plain == "unix:" || plain == "unix" {
            unix = true;
            continue;
        }
        let network = plain.parse::<IpNet>().or_else(|_| plain.parse::<std::net::IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => networks.push(network),
            Err(_) => {
                let why = Unfit::because("this is neither an address nor a network");
                let message =
                    "`trusted_proxies` takes networks, or `\"unix:\"`: `\"10.0.0.0/8\"`, `\"127.0.0.1\"`".to_owned();
                top.sink.report(unfit(text, message, why));
            }
        }
    }
    TrustedProxies::new(networks, unix)
}

fn real_ip_header(top: &Section<'_>) -> RealIpHeader {
    let header = match top.word("real_ip_header") {
        "X-Real-IP" => RealIpHeader::XRealIp,
        "Forwarded" => RealIpHeader::Forwarded,
        "proxy_protocol" => RealIpHeader::ProxyProtocol,
        _ => RealIpHeader::XForwardedFor,
    };
    let foreign = header != RealIpHeader::default();
    if let Some(place) = top.key_span("real_ip_header").filter(|_| foreign && !trusts_somebody(top)) {
        let warning = Diagnostic::warning("`real_ip_header` has no effect: no proxy is trusted").at(place);
        top.sink.report(warning.help("name the proxies before this one: `trusted_proxies = [\"10.0.0.0/8\"]`"));
    }
    header
}

/// Whether `trusted_proxies` names anybody, be it wrongly.
pub(super) fn trusts_somebody(top: &Section<'_>) -> bool {
    top.node("trusted_proxies").is_some_and(|node| !matches!(&node.value, Value::List(list) if list.is_empty()))
}

fn resolver(top: &Section<'_>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for (text, plain) in texts(top, "resolver") {
        match address::resolver(&plain) {
            Ok(server) => servers.push(server),
            Err(why) => {
                let message = "`resolver` takes addresses of DNS servers: `\"10.0.0.2\"`, `\"[::1]:5353\"`".to_owned();
                top.sink.report(unfit(text, message, why));
            }
        }
    }
    servers
}

fn state_file(top: &Section<'_>) -> Option<PathBuf> {
    let (text, plain) = one_text(top, "state_file")?;
    let why = match absolute(&plain, "file", "/var/lib/weir/state.json") {
        Ok(path) => return Some(path),
        Err(why) => why,
    };
    top.sink.report(unfit(text, "`state_file` takes the absolute path of a file".to_owned(), why));
    None
}

/// Unless the file says something, beside the admin listener's socket: whoever finds the one finds the other.
fn takeover(top: &Section<'_>, admin: &Admin) -> Option<PathBuf> {
    let admin = match &admin.listen {
        Some(AdminListen::Unix(path)) => Some(path),
        _ => None,
    };
    let beside = admin.map(|path| {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".takeover");
        PathBuf::from(beside)
    });
    let Some((text, plain)) = one_text(top, "takeover") else { return beside };
    let written = plain.strip_prefix("unix:").unwrap_or(&plain);
    if written == "off" {
        return None;
    }
    let why = match absolute(written, "socket", "/run/weir/takeover.sock") {
        Ok(path) if Some(&path) == admin => Unfit::because("the admin listener has that socket"),
        Ok(path) => return Some(path),
        Err(why) => why,
    };
    top.sink.report(unfit(text, "`takeover` takes the absolute path of a unix socket, or `\"off\"`".to_owned(), why));
    beside
}

/// The path of a file, from the root on.
fn absolute(path: &str, what: &str, example: &str) -> Result<PathBuf, Unfit> {
    Err(match path {
        "" => Unfit::because("it is empty"),
        path if !path.starts_with('/') => Unfit::because("a relative path depends on where weir was started")
            .help(format!("write such as `\"{example}\"`")),
        path if path.ends_with('/') => Unfit::because(format!("the name of the {what} is missing")),
        path if path.contains('\0') => Unfit::because("no path has such a character"),
        path => return Ok(PathBuf::from(path)),
    })
}
