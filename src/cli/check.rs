//! `weir check`: is the file fine?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, Config, Env};

/// Checks a configuration without using it.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The file [default: $WEIR_CONFIG, ./upstream.toml, /etc/weir/upstream.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Says "fine" on stdout and exits 0, or shows every mistake on stderr and exits 1. Warnings are shown and do not
/// count.
pub fn run(args: CheckArgs) -> ExitCode {
    let path = match config::find(args.config.as_deref(), &Env::process(Path::new("."))) {
        Ok(path) => path,
        Err(mistakes) => {
            mistakes.print();
            return ExitCode::FAILURE;
        }
    };
    match config::load(&path, &Env::beside(&path)) {
        Ok(loaded) => {
            loaded.warnings.print();
            anstream::println!("{}: fine: {}", path.display(), summary(&loaded.config));
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            mistakes.print();
            anstream::eprintln!("{}: {}", path.display(), count(mistakes.errors(), "mistake"));
            ExitCode::FAILURE
        }
    }
}

/// `1 upstream, 3 servers, listening on 0.0.0.0:80`.
fn summary(config: &Config) -> String {
    let servers = config.upstreams.iter().map(|upstream| upstream.servers.len()).sum();
    let mut listening: Vec<String> = Vec::new();
    for listen in config.servers.iter().flat_map(|server| &server.listen) {
        let address = listen.address.to_string();
        if !listening.contains(&address) {
            listening.push(address);
        }
    }
    let upstreams = count(config.upstreams.len(), "upstream");
    format!("{upstreams}, {}, listening on {}", count(servers, "server"), listening.join(", "))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
