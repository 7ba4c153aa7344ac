//! `weir healthcheck`: is the application at this URL (or this container's weir) healthy?

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config::model::{AdminListen, StatusSet};

/// Arguments of `weir healthcheck`.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {
    /// What to ask, as http://HOST[:PORT][/PATH]; without it, this container's weir
    pub url: Option<String>,
    /// How long it may take: 900ms, 2s, or plain milliseconds
    #[arg(short, long, default_value = "2s", value_parser = timeout)]
    pub timeout: Duration,
    /// Which status is healthy: 200, 200-299, "200 204", "! 500-599"
    #[arg(long, value_name = "STATUS", default_value = "200-399", value_parser = status_set)]
    pub expect_status: StatusSet,
}

/// Prints one line and exits with 0 if healthy, 1 if not, 2 if the arguments make no sense. `own_admin` tells where
/// the admin listener of this container's weir is; it is asked only when there is no URL.
pub fn run(_args: &HealthcheckArgs, _own_admin: impl FnOnce() -> Result<AdminListen, String>) -> ExitCode {
    todo!()
}

fn timeout(_text: &str) -> Result<Duration, String> {
    todo!()
}

fn status_set(_text: &str) -> Result<StatusSet, String> {
    todo!()
}
