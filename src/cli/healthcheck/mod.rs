//! Is the application at this URL, or this container's weir, healthy? `weir healthcheck`, for a container's
//! HEALTHCHECK: one line for each who is asked, and an exit code.

mod ask;
mod settings;
mod target;
mod trust;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::config::expect::{self, Test};
use crate::config::model::{AdminListen, BodyTest, Expect, StatusSet};
pub(super) use ask::reachable;
use ask::{Asked, Plan, Report};
use settings::Settings;
use target::Target;
pub use target::{Grpc, HostPort, Url};

/// Arguments of `weir healthcheck`.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {
    /// What to ask, such as `http://app:5000/health`; of several all must be healthy. Without any, this container's weir
    /// is asked for `/healthz`
    #[arg(value_name = "URL", value_parser = target::url)]
    pub urls: Vec<Url>,
    /// The same
    #[arg(short = 'u', long = "url", value_name = "URL", value_parser = target::url)]
    pub more_urls: Vec<Url>,
    /// The URL that a setting of the application names: `RngApi:Url` is the variable `RngApi__Url`, else `Url` within
    /// `RngApi` of appsettings.json, settings.json or settings.toml
    #[arg(short = 'c', long = "key", value_name = "KEY")]
    pub keys: Vec<String>,
    /// The settings file for `-c`, JSON or TOML, in place of the usual ones; of several the first that has the key
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub settings: Vec<PathBuf>,
    /// Whether a connection is accepted here
    #[arg(long, value_name = "HOST:PORT", value_parser = target::tcp)]
    pub tcp: Vec<HostPort>,
    /// The gRPC health protocol, of the whole server or of one service
    #[arg(long, value_name = "HOST:PORT[/SERVICE]", value_parser = target::grpc)]
    pub grpc: Vec<Grpc>,
    /// Whose certificates are believed for `https://`: a file of them in PEM, in place of the web's authorities
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// For `https://`, believe any certificate
    #[arg(long, conflicts_with = "ca_file")]
    pub insecure: bool,
    /// How long a try may take in all: 900ms, 2s, or plain milliseconds
    #[arg(short, long, default_value = "2s", value_name = "TIME", value_parser = time)]
    pub timeout: Duration,
    /// How often to try again before it is said to be unhealthy
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub retries: u32,
    /// How long to wait before another try
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = time)]
    pub interval: Duration,
    /// Which answers are healthy: 200, 200-299, "200 204", "! 500-599" [default: 200-399]
    #[arg(long, value_name = "STATUS", value_parser = status_set)]
    pub expect_status: Option<StatusSet>,
    /// What the body must match, or with `!~` in front must not
    #[arg(long, value_name = "REGEX", value_parser = body_test)]
    pub expect_body: Option<BodyTest>,
    /// What must hold, as in `health_check.match`: 'status == ok' of a JSON body, 'count < 100',
    /// 'header content-type ~ json', 'body !~ error'
    #[arg(long = "expect", value_name = "TEST", value_parser = expect::parse, action = ArgAction::Append)]
    pub expect: Vec<Test>,
}

impl HealthcheckArgs {
    /// All tests on an answer over HTTP as one.
    fn expectation(&self) -> Result<Expect, String> {
        let mut expect = Expect {
            status: self.expect_status.clone(),
            headers: Vec::new(),
            body: self.expect_body.clone(),
            json: Vec::new(),
        };
        for test in &self.expect {
            match test.clone() {
                Test::Status(_) if expect.status.is_some() => return Err("the status is tested twice".into()),
                Test::Status(set) => expect.status = Some(set),
                Test::Body(_) if expect.body.is_some() => {
                    return Err("the body is tested twice; say it in one regex".into());
                }
                Test::Body(test) => expect.body = Some(test),
                Test::Header(test) => expect.headers.push(test),
                Test::Json(test) => expect.json.push(test),
            }
        }
        expect.status.get_or_insert(StatusSet { negated: false, ranges: vec![(200, 399)] });
        Ok(expect)
    }

    /// Whether an answer over HTTP was asked for, and only other questions are asked.
    fn expects_in_vain(&self) -> bool {
        let expects = self.expect_status.is_some() || self.expect_body.is_some() || !self.expect.is_empty();
        let others = !self.tcp.is_empty() || !self.grpc.is_empty();
        expects && others && self.urls.is_empty() && self.more_urls.is_empty() && self.keys.is_empty()
    }

    /// Who is asked, in the order of the help, or what to say of one who cannot be.
    fn targets(&self, settings: impl FnOnce() -> Settings) -> Vec<Result<Target, Report>> {
        let mut targets: Vec<Result<Target, Report>> =
            self.urls.iter().chain(&self.more_urls).map(|url| Ok(Target::Url(url.clone()))).collect();
        if !self.keys.is_empty() {
            let settings = settings();
            targets.extend(self.keys.iter().map(|key| {
                let found = settings.find(key).and_then(|value| {
                    target::url(&value).map_err(|why| format!("its value is no URL that can be asked: {why}"))
                });
                found.map(Target::Url).map_err(|why| Report::failed(format!("key {key}"), &why))
            }));
        }
        targets.extend(self.tcp.iter().map(|at| Ok(Target::Tcp(at.clone()))));
        targets.extend(self.grpc.iter().map(|grpc| Ok(Target::Grpc(grpc.clone()))));
        targets
    }
}

/// Prints a line for each who is asked and exits with 0 if all are healthy, with 1 if not, with 2 if the arguments make
/// no sense. `own_admin` tells where the admin listener of this container's weir is, or why there is none; it is asked
/// only when nobody else is.
pub fn run(args: &HealthcheckArgs, own_admin: impl FnOnce() -> Result<AdminListen, String>) -> ExitCode {
    let expect = match args.expectation() {
        Ok(_) if args.expects_in_vain() => Err("what an answer must be like is for URLs: give one".to_owned()),
        expect => expect,
    };
    let expect = match expect {
        Ok(expect) => expect,
        Err(why) => {
            let _ = writeln!(io::stderr(), "error: {why}");
            return ExitCode::from(2);
        }
    };
    let asked = asked(args, own_admin);
    // rustls costs some milliseconds, which a plain URL need not pay.
    let tls = match asked.iter().flatten().any(Asked::is_secure).then(|| trust::connector(args)).transpose() {
        Ok(tls) => tls.map(Arc::new),
        Err(why) => {
            let _ = writeln!(io::stderr(), "error: {why}");
            return ExitCode::from(2);
        }
    };
    let plan = Plan { expect, tls, timeout: args.timeout, retries: args.retries, interval: args.interval };
    // One thread: it is up in less than a millisecond, and there is little to do.
    let reports = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(ask::all(plan, asked)),
        Err(error) => vec![Report::failed("weir".into(), &format!("cannot start: {error}"))],
    };
    for report in &reports {
        // Nobody may be listening any more; the exit code still says it.
        let _ = writeln!(io::stdout(), "{}", report.line);
    }
    ExitCode::from(if reports.iter().all(|report| report.healthy) { 0 } else { 1 })
}

fn asked(
    args: &HealthcheckArgs,
    own_admin: impl FnOnce() -> Result<AdminListen, String>,
) -> Vec<Result<Asked, Report>> {
    let environment = || Settings::new(variables(), &args.settings);
    let targets = args.targets(environment);
    if targets.is_empty() {
        let own = own_admin().map(Asked::Weir).map_err(|why| Report::failed("url of this weir".into(), &why));
        return vec![own];
    }
    targets.into_iter().map(|target| target.map(Asked::Target)).collect()
}

fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn time(text: &str) -> Result<Duration, String> {
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

/// As `match` reads it; commas are allowed, too, since a list without blanks needs no quotes in a shell.
fn status_set(text: &str) -> Result<StatusSet, String> {
    expect::status(&text.replace(',', " ")).map_err(|unread| unread.to_string())
}

fn body_test(text: &str) -> Result<BodyTest, String> {
    let test = if text.starts_with(['~']) || text.starts_with("!~") { text.to_owned() } else { format!("~ {text}") };
    expect::body(&test).map_err(|unread| unread.to_string())
}

#[cfg(test)]
mod tests;
