//! The command line: one file a subcommand. Exit codes: 0 fine, 1 the thing checked is bad, 2 usage.

pub mod ask;
pub mod check;
pub mod demo;
pub mod healthcheck;
pub mod lever;
pub mod plan;
pub mod reload;
pub mod run;
pub mod status;
pub mod wait;

use std::process::ExitCode;

use std::path::Path;

use clap::{Parser, Subcommand};

use crate::config::model::AdminListen;
use crate::config::{self, Env};
use crate::telemetry::logging::Logging;

/// A health-aware reverse proxy and load balancer.
#[derive(Parser, Debug)]
#[command(name = "weir", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand, Debug)]
enum Subcommands {
    /// Run the load balancer
    Run(run::RunArgs),
    /// Check a configuration without using it
    Check(check::CheckArgs),
    /// See weir at work: three applications and the balancer, without any file
    Demo(demo::DemoArgs),
    /// Ask a URL, or this container's weir, whether it is well
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Show groups and peers as they are
    Status(status::StatusArgs),
    /// Let a peer finish what it has, and send it nothing new
    Drain(lever::LeverArgs),
    /// End a drain
    Undrain(lever::LiftArgs),
    /// Send a peer nothing at all, probes included
    Down(lever::LeverArgs),
    /// End a down or a drain
    Up(lever::LiftArgs),
    /// Give a peer another share of the requests
    Weight(lever::WeightArgs),
    /// Wait until peers are up, or one is drained
    Wait(wait::WaitArgs),
    /// Read the file again, and say what changed
    Reload(reload::ReloadArgs),
    /// Say what a configuration would change
    Plan(plan::PlanArgs),
}

/// Parses the command line and obeys.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Subcommands::Run(args) => run::run(&args),
        Subcommands::Check(args) => check::run(args),
        Subcommands::Demo(args) => demo::run(&args),
        Subcommands::Healthcheck(args) => healthcheck::run(&args, own_admin),
        Subcommands::Status(args) => status::run(args),
        Subcommands::Drain(args) => lever::run("drain", args, None),
        Subcommands::Undrain(args) => lever::lift("undrain", args),
        Subcommands::Down(args) => lever::run("down", args, None),
        Subcommands::Up(args) => lever::lift("up", args),
        Subcommands::Weight(args) => lever::run("weight", args.lever, Some(args.weight)),
        Subcommands::Wait(args) => wait::run(args),
        Subcommands::Reload(args) => reload::run(&args),
        Subcommands::Plan(args) => plan::run(&args),
    }
}

/// Where the weir of this container answers: what its configuration says, else the usual place. A mistake in the file
/// must not make a container unhealthy whose weir goes on with the configuration in force.
fn own_admin() -> Result<AdminListen, String> {
    let here = Env::process(Path::new("."));
    let usual = || Ok(AdminListen::Unix(here.admin_socket().into()));
    let Ok(path) = config::find(None, &here) else { return usual() };
    match config::load(&path, &Env::beside(&path)) {
        Ok(loaded) => loaded.config.admin.listen.ok_or_else(|| "the admin listener is off: give a URL".to_owned()),
        Err(_) => usual(),
    }
}

/// Begins the program log. False: `WEIR_LOG` makes no sense, which was said.
fn begin_logging() -> bool {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match Logging::from_env(|name| std::env::var(name).ok(), terminal).init() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("weir: {error}");
            false
        }
    }
}
