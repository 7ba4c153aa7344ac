//! The command line: one file a subcommand. Exit codes: 0 fine, 1 the thing checked is bad, 2 usage.

pub mod check;
pub mod demo;
pub mod healthcheck;
pub mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

/// Parses the command line and obeys.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Subcommands::Run(args) => run::run(&args),
        Subcommands::Check(args) => check::run(args),
        Subcommands::Demo(args) => demo::run(&args),
        Subcommands::Healthcheck(args) => healthcheck::run(&args, healthcheck::own_admin),
    }
}
