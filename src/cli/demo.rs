//! `weir demo`: three applications and the balancer in one process, to see it work.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::run;
use crate::app::Options;
use crate::config::model::{Address, Config};
use crate::config::{self, Env};
use crate::demo::{backend, certificate};
use crate::endpoint::Endpoint;
use crate::tls::{Acceptor, ClientPolicy, ServerSettings, Versions};

/// The configuration of the demo, as a file one could write.
const DEMO: &str = include_str!("../../config/demo.toml");
/// The first application's port; the others follow.
const FIRST_PORT: u16 = 5001;

/// Arguments of `weir demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The port of the balancer [default: 8080, with --tls 8443]
    #[arg(long)]
    pub port: Option<u16>,
    /// Speak TLS, with a certificate made on the spot
    #[arg(long)]
    pub tls: bool,
    /// How many applications, on the ports from 5001 on
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub apps: u16,
}

/// Runs the demo until Ctrl-C. Exit code 1 if a port is taken.
pub fn run(args: &DemoArgs) -> ExitCode {
    if !super::begin_logging() {
        return ExitCode::from(2);
    }
    let config = match config::parse("config/demo.toml", DEMO, &Env::process(Path::new("/nonexistent"))) {
        Ok(loaded) => shape(loaded.config, args),
        Err(diagnostics) => {
            diagnostics.print();
            return ExitCode::from(1);
        }
    };
    let config = match config {
        Ok(config) => config,
        Err(why) => {
            tracing::error!("{why}");
            return ExitCode::from(1);
        }
    };
    let mut listeners = Vec::new();
    for id in 1..=args.apps {
        let port = FIRST_PORT + id - 1;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => listeners.push((listener, usize::from(id))),
            Err(error) => {
                tracing::error!(
                    "Web Application [{id}] cannot listen on port {port}: {error}; free that port, or ask for fewer with --apps"
                );
                return ExitCode::from(1);
            }
        }
    }
    let stop = CancellationToken::new();
    let applications = thread::Builder::new().name("applications".to_owned()).spawn({
        let stop = stop.clone();
        move || serve(listeners, &stop)
    });
    if let Err(error) = applications {
        tracing::error!("cannot start the applications: {error}");
        return ExitCode::from(1);
    }
    let shown = args.clone();
    let code = run::serve(Options { started: Box::new(move || introduce(&shown)), ..Options::of(config) });
    stop.cancel();
    code
}

impl DemoArgs {
    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 8443 } else { 8080 })
    }
}

/// An acceptor with a certificate of its own.
fn acceptor() -> Result<Arc<Acceptor>, String> {
    let pair = certificate::make().map_err(|error| error.to_string())?;
    let settings = ServerSettings { pairs: vec![pair], versions: Versions::ALL, clients: ClientPolicy::default() };
    Acceptor::new(settings).map(Arc::new)
}

/// The demo's configuration for other ports and numbers, and for TLS.
fn shape(mut config: Config, args: &DemoArgs) -> Result<Config, String> {
    let tls = if args.tls { Some(acceptor()?) } else { None };
    for listen in config.servers.iter_mut().flat_map(|server| &mut server.listen) {
        listen.tls.clone_from(&tls);
        if let Endpoint::Ip(address) = &mut listen.address {
            address.set_port(args.port());
        }
    }
    for upstream in &mut config.upstreams {
        if let Some(first) = upstream.servers.first().cloned() {
            let server = |id: u16| {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + id));
                let text = address.to_string().into();
                crate::config::model::UpstreamServer { address: Address::Ip(address), text, ..first.clone() }
            };
            upstream.servers = (0..args.apps).map(server).collect();
        }
    }
    Ok(config)
}

fn serve(listeners: Vec<(TcpListener, usize)>, stop: &CancellationToken) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("cannot start the applications: {error}"),
    };
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (listener, id) in listeners {
            let adopted = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
            match adopted {
                Ok(listener) => drop(tasks.spawn(backend::serve(listener, id, stop.clone()))),
                Err(error) => tracing::error!("Web Application [{id}] cannot start: {error}"),
            }
        }
        while tasks.join_next().await.is_some() {}
    });
}

fn introduce(args: &DemoArgs) {
    let (port, apps) = (args.port(), args.apps);
    let curl = if args.tls { format!("curl -k https://localhost:{port}") } else { format!("curl localhost:{port}") };
    let last = FIRST_PORT + apps - 1;
    println!(
        "weir demo: {apps} applications on {FIRST_PORT}-{last}, the balancer on {port}. Try, in another terminal:

  {curl:<40}again and again: [1], [2], [3], [1], ...
  curl -X POST localhost:{FIRST_PORT}/break           make the first one sick: it leaves within seconds, below is said why
  curl -X POST localhost:{FIRST_PORT}/fix             make it well: it comes back
  while sleep 0.2; do {curl} -s; done

The configuration is config/demo.toml; `weir run -c upstream.toml` runs your own. Ctrl-C ends.
Changes of state, as they happen:
"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_tls_the_demo_has_a_certificate_and_another_port() {
        let loaded = config::parse("config/demo.toml", DEMO, &Env::of([])).unwrap();
        for (tls, port) in [(false, "127.0.0.1:8080"), (true, "127.0.0.1:8443")] {
            let shaped = shape(loaded.config.clone(), &DemoArgs { port: None, tls, apps: 1 }).unwrap();
            let listen = &shaped.servers[0].listen[0];
            assert_eq!((listen.address.to_string().as_str(), listen.tls.is_some()), (port, tls));
        }
    }
}
