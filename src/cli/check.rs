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

#[cfg(test)]
mod tests {
    use super::*;

    fn summary_of(text: &str) -> String {
        summary(&config::parse("upstream.toml", text, &Env::of([])).unwrap().config)
    }

    #[test]
    fn a_fine_file_is_summed_up_in_a_line() {
        let upstream = "[upstream.web]\nservers = [\"a:1\", \"b:1\", \"c:1\"]\n";
        assert_eq!(summary_of(upstream), "1 upstream, 3 servers, listening on 0.0.0.0:80");
        let both = "[[server]]\nlisten = [80, \"[::1]:81\"]\nlocation = [{ path = \"/\", proxy_pass = \"http://web\" }, \
                    { path = \"/a\", proxy_pass = \"http://a:5000\" }]";
        assert_eq!(
            summary_of(&format!("{upstream}{both}")),
            "2 upstreams, 4 servers, listening on 0.0.0.0:80, [::1]:81"
        );
    }
}
