//! `weir wait`: until enough peers are up, or until one has finished what it had. For scripts.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout};

use super::ask::{self, AdminArgs, Asker, ConfigArgs};
use super::status::status;
use crate::admin::status::GroupStatus;

/// What to wait for.
#[derive(Args, Clone, Debug)]
#[group(id = "event", required = true, multiple = false, args = ["healthy", "drained"])]
pub struct WaitArgs {
    /// The upstream
    #[arg(value_name = "GROUP")]
    pub group: String,
    /// Until so many of its peers are up
    #[arg(long, value_name = "N")]
    pub healthy: Option<usize>,
    /// Until this peer of it is draining, down or gone, and has no request in flight
    #[arg(long, value_name = "PEER")]
    pub drained: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = ask::time)]
    pub timeout: Duration,
    /// Which one is asked.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where it is asked.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// How often to look.
const LOOK: Duration = Duration::from_millis(200);

/// Exits with 0 once it is so, and with 1 if it is not in time; a weir that does not answer yet is waited for, too.
pub fn run(args: WaitArgs) -> ExitCode {
    ask::block_on(async move {
        let asker = Asker::new(&args.admin, args.config.config.as_deref())?;
        let mut latest = format!("no weir at {} answered", asker.place());
        let waiting = async {
            let mut known = false;
            loop {
                match look(&args, &asker, &mut known).await {
                    Look::So(said) => return Ok(said),
                    Look::NotYet(why) => latest = why,
                    Look::Never(why) => return Err(why),
                }
                sleep(LOOK).await;
            }
        };
        let outcome = timeout(args.timeout, waiting).await;
        match outcome {
            Ok(Ok(said)) => {
                anstream::println!("{said}");
                Ok(ExitCode::SUCCESS)
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("not within {:?}: {latest}", args.timeout)),
        }
    })
}

/// How it looks now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    So(String),
    NotYet(String),
    /// Waiting does not help.
    Never(String),
}

/// `known`: the peer was seen before, so it may have gone.
async fn look(args: &WaitArgs, asker: &Asker, known: &mut bool) -> Look {
    let group = &args.group;
    let Some(peer) = &args.drained else {
        return match status(asker, "/status").await {
            Ok(status) => match status.groups.iter().find(|found| found.name == *group) {
                Some(found) => enough(found, args.healthy.unwrap_or(1)),
                None => Look::Never(format!("there is no upstream `{group}`")),
            },
            Err(why) => Look::NotYet(why),
        };
    };
    let peer = format!("{group}/{peer}");
    let answer = match asker.get(&ask::query("/status", "peer", &peer)).await {
        Ok(answer) => answer,
        Err(why) => return Look::NotYet(why),
    };
    if answer.status == 404 {
        let why = answer.error().unwrap_or_default();
        return if *known { Look::So(format!("{peer} is gone")) } else { Look::Never(why) };
    }
    *known = true;
    match answer.success().map(serde_json::from_value::<crate::admin::status::Status>) {
        Ok(Ok(status)) => match status.groups.first() {
            Some(found) => drained(found, &peer),
            None => Look::So(format!("{peer} is gone")),
        },
        Ok(Err(error)) => Look::Never(format!("{} is of another version of weir: {error}", asker.place())),
        Err(why) => Look::NotYet(why),
    }
}

fn enough(group: &GroupStatus, wanted: usize) -> Look {
    let up = group.peers.iter().filter(|peer| peer.state == "up").count();
    let (name, all) = (&group.name, group.peers.len());
    let said = format!("{name}: {up} of {all} peers are up");
    if up >= wanted { Look::So(said) } else { Look::NotYet(format!("{said}, {wanted} are wanted")) }
}

fn drained(group: &GroupStatus, peer: &str) -> Look {
    let in_use = group.peers.iter().find(|peer| !matches!(&*peer.state, "draining" | "down"));
    let active: u32 = group.peers.iter().map(|peer| peer.active).sum();
    match (in_use, active) {
        (Some(in_use), _) => Look::NotYet(format!("{peer} is {}: write `weir drain {peer}` first", in_use.state)),
        (None, 0) => Look::So(format!("{peer} is drained")),
        (None, 1) => Look::NotYet(format!("{peer} has a request in flight")),
        (None, active) => Look::NotYet(format!("{peer} has {active} requests in flight")),
    }
}
