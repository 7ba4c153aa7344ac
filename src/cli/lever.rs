//! `weir drain`, `undrain`, `down`, `up` and `weight`: one peer, for a time, by somebody, for a reason.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{self, AdminArgs, Asker};
use super::status::ago;
use crate::admin::levers::{Pull, Pulled};

/// A lever and its peer.
#[derive(Args, Clone, Debug)]
pub struct LeverArgs {
    /// The peer: its server as written, its host, its ip:port, or as much of one of these as no other has
    #[arg(value_name = "GROUP/PEER")]
    pub peer: String,
    /// How long it holds, such as 10m [default: until it is lifted]
    #[arg(long = "for", value_name = "TIME", value_parser = ask::time)]
    pub lasts: Option<Duration>,
    /// Why: shown with it everywhere
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The configuration of the weir that is meant [default: $WEIR_CONFIG, ./upstream.toml, /etc/weir/upstream.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where it is asked.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// A lever that ends an override.
#[derive(Args, Clone, Debug)]
pub struct LiftArgs {
    /// The peer: its server as written, its host, its ip:port, or as much of one of these as no other has
    #[arg(value_name = "GROUP/PEER")]
    pub peer: String,
    /// Why: shown if the file itself has it down or draining
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The configuration of the weir that is meant [default: $WEIR_CONFIG, ./upstream.toml, /etc/weir/upstream.toml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where it is asked.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// A weight and its peer.
#[derive(Args, Clone, Debug)]
pub struct WeightArgs {
    /// Whose, and for how long.
    #[command(flatten)]
    pub lever: LeverArgs,
    /// Its share of the requests: 1 to 65535, or `file` for what the file says
    #[arg(value_name = "N|file", value_parser = weight)]
    pub weight: Weight,
}

/// What `weir weight` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// This.
    Is(u32),
    /// Whatever the file says.
    File,
}

/// Prints who is meant and how it is now. Exits with 1 if the lever does not move, and says what to type.
pub fn run(lever: &str, args: LeverArgs, weight: Option<Weight>) -> ExitCode {
    let pull = Pull {
        peer: args.peer,
        lever: lever.to_owned(),
        weight: match weight {
            Some(Weight::Is(weight)) => Some(weight),
            Some(Weight::File) | None => None,
        },
        for_ms: args.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)),
        by: Some(ask::who()),
        reason: args.reason,
    };
    ask::block_on(async move {
        let asker = Asker::new(&args.admin, args.config.as_deref())?;
        let body = serde_json::to_value(&pull).map_err(|error| error.to_string())?;
        let answer = asker.post("/levers", Some(body)).await?.success()?;
        let pulled: Pulled = ask::read(answer)?;
        anstream::print!("{}", shown(&pulled));
        Ok(ExitCode::SUCCESS)
    })
}

/// As [`run`], for a lever that ends an override.
pub fn lift(lever: &str, args: LiftArgs) -> ExitCode {
    let LiftArgs { peer, reason, config, admin } = args;
    run(lever, LeverArgs { peer, lasts: None, reason, config, admin }, None)
}

/// A line for each peer: `web/app2:5000 (10.0.0.2:5000): draining, 3 in flight, weight 1; drain by ann@host, 9m left: deploy`.
fn shown(pulled: &Pulled) -> String {
    if pulled.peers.is_empty() {
        return format!("{}: there is no address yet; it will be so as soon as there is one\n", pulled.peer);
    }
    let group = pulled.peer.split_once('/').map_or("", |(group, _)| group);
    let line = |peer: &crate::admin::status::PeerStatus| {
        let address = if peer.name == peer.address { String::new() } else { format!(" ({})", peer.address) };
        let overrides = peer.overrides.iter().map(|over| {
            let left = over.left_ms.map(|left| format!(", {} left", ago(left))).unwrap_or_default();
            let reason = over.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("; {} by {}{left}{reason}", over.what, over.by)
        });
        let overrides: String = overrides.collect();
        let (name, state, active, weight) = (&peer.name, &peer.state, peer.active, peer.weight);
        format!("{group}/{name}{address}: {state}, {active} in flight, weight {weight}{overrides}\n")
    };
    pulled.peers.iter().map(line).collect()
}

fn weight(text: &str) -> Result<Weight, String> {
    match text.parse() {
        _ if text == "file" => Ok(Weight::File),
        Ok(weight @ 1..=65_535) => Ok(Weight::Is(weight)),
        _ => Err("a weight is a number from 1 to 65535, or `file` for what the file says".to_owned()),
    }
}
