//! `weir check`: is the file fine?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::compose;
use crate::config::{self, Config, Env};

/// Checks a configuration without using it.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The file [default: $WEIR_CONFIG, ./upstream.toml, /etc/weir/upstream.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A compose file, or the folder of one: do its services and this file fit? Later files change earlier ones. Without
    /// `-c` the upstream.toml that its weir mounts is checked
    #[arg(long, value_name = "COMPOSE_FILE")]
    pub compose: Vec<PathBuf>,
    /// As with `docker compose up`: how many containers of a service there will be
    #[arg(long, value_name = "SERVICE=N", value_parser = scale, requires = "compose")]
    pub scale: Vec<(String, u32)>,
}

/// Says "fine" on stdout and exits 0, or shows every mistake on stderr and exits 1. Warnings are shown and do not
/// count.
pub fn run(args: CheckArgs) -> ExitCode {
    if !args.compose.is_empty() {
        return with_compose(&args);
    }
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
            if let mistakes @ 1.. = loaded.warnings.mistakes() {
                anstream::eprintln!("{}: {}", path.display(), count(mistakes, "mistake"));
                return ExitCode::FAILURE;
            }
            anstream::println!("{}: fine: {}", path.display(), summary(&loaded.config));
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            mistakes.print();
            anstream::eprintln!("{}: {}", path.display(), count(mistakes.mistakes(), "mistake"));
            ExitCode::FAILURE
        }
    }
}

/// The same for the file and the compose files together.
fn with_compose(args: &CheckArgs) -> ExitCode {
    // What `docker compose` sees: its own environment, and the `.env` beside the first file.
    let first = &args.compose[0];
    let folder = if first.is_dir() { first.clone() } else { first.parent().unwrap_or(Path::new("")).to_owned() };
    let folder = if folder == Path::new("") { PathBuf::from(".") } else { folder };
    let outcome = compose::check(args.config.as_deref(), &args.compose, &args.scale, &Env::process(&folder));
    outcome.found.iter().for_each(|found| found.print());
    let names: Vec<String> = args.compose.iter().map(|path| path.display().to_string()).collect();
    match (&outcome.config, outcome.mistakes()) {
        (Some((path, config)), 0) => {
            anstream::println!("{}: fine with {}: {}", path.display(), names.join(", "), summary(config));
            ExitCode::SUCCESS
        }
        (config, mistakes) => {
            let path = config.as_ref().map(|(path, _)| format!("{} with ", path.display())).unwrap_or_default();
            anstream::eprintln!("{path}{}: {}", names.join(", "), count(mistakes, "mistake"));
            ExitCode::FAILURE
        }
    }
}

/// `pyfla_app=3`.
fn scale(text: &str) -> Result<(String, u32), String> {
    let wrong = || "write it as SERVICE=NUMBER, such as pyfla_app=3".to_owned();
    let (service, number) = text.split_once('=').filter(|(service, _)| !service.is_empty()).ok_or_else(wrong)?;
    Ok((service.to_owned(), number.parse().map_err(|_| wrong())?))
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
    for listen in config.streams.iter().flat_map(|stream| &stream.listen) {
        listening.push(format!("{}{}", listen.address, if listen.udp { " (udp)" } else { "" }));
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
