//! `weir demo`: three applications and the balancer in one process, to see it work.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::run;
use crate::app::Options;
use crate::config::model::{Address, Config};
use crate::config::{self, Env};
use crate::demo::backend;

/// The configuration of the demo, as a file one could write.
const DEMO: &str = include_str!("../../config/demo.toml");
/// The first application's port; the others follow.
const FIRST_PORT: u16 = 5001;

/// Arguments of `weir demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The port of the balancer
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
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
    let code = run::serve(Options { config, file: None, started: Box::new(move || introduce(&shown)) });
    stop.cancel();
    code
}

/// The demo's configuration for other ports and numbers.
fn shape(mut config: Config, args: &DemoArgs) -> Config {
    for listen in config.servers.iter_mut().flat_map(|server| &mut server.listen) {
        listen.address.set_port(args.port);
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
    config
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
    let DemoArgs { port, apps } = args;
    let last = FIRST_PORT + apps - 1;
    println!(
        "weir demo: {apps} applications on {FIRST_PORT}-{last}, the balancer on {port}. Try, in another terminal:

  curl localhost:{port}                      again and again: [1], [2], [3], [1], ...
  curl -X POST localhost:{FIRST_PORT}/break           make the first one sick: it leaves within seconds, below is said why
  curl -X POST localhost:{FIRST_PORT}/fix             make it well: it comes back
  while sleep 0.2; do curl -s localhost:{port}; done

The configuration is config/demo.toml; `weir run -c upstream.toml` runs your own. Ctrl-C ends.
Changes of state, as they happen:
"
    );
}
