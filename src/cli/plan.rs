//! `weir plan`: what would a configuration change, and who would notice?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::ask::{self, AdminArgs, Asker};
use crate::admin::change::{Candidate, Planned};
use crate::control::plan::Plan;

/// What to compare with what runs.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// The configuration to compare; its weir is the one that it names, too [default: weir's own file, as it is now]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Exit with 1 if a peer with requests in flight, or an address to listen on, would go
    #[arg(long)]
    pub expect_no_drop: bool,
    /// Where it is asked.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Prints the difference. Exits with 1 if the configuration has mistakes.
pub fn run(args: &PlanArgs) -> ExitCode {
    ask::block_on(async {
        let asker = Asker::new(&args.admin, args.config.as_deref())?;
        let candidate = match &args.config {
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
                let candidate = serde_json::to_value(Candidate { name, text });
                Some(candidate.map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let answer = asker.post("/plan", candidate).await?;
        if let Some(why) = answer.error() {
            return Err(why);
        }
        let Planned { plan, diagnostics } = ask::read(answer.body)?;
        anstream::eprint!("{diagnostics}");
        let Some(plan) = plan else { return Err("it would be refused; the configuration in force would stay".into()) };
        anstream::print!("{}", shown(&plan));
        Ok(if args.expect_no_drop && plan.drops() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

fn shown(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.changes);
    for leaving in &plan.peers_removed {
        text += &match leaving.active {
            0 => format!("  {} goes; it has no request in flight\n", leaving.peer),
            1 => format!("  {} goes; it finishes the one request that it has\n", leaving.peer),
            active => format!("  {} goes; it finishes the {active} requests that it has\n", leaving.peer),
        };
    }
    for address in &plan.listeners_removed {
        text += &format!("  {address} refuses new connections; those that it has live on\n");
    }
    for ended in &plan.ended {
        text += &format!("  {ended}\n");
    }
    for name in &plan.needs_restart {
        text += &format!("  `{name}` takes effect at the next start of weir\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::plan::Leaving;

    #[test]
    fn a_plan_says_who_would_notice() {
        let leaving = |peer: &str, active| Leaving { peer: peer.into(), active };
        let plan = Plan {
            changes: "-web/10.0.0.1:80, -listen 0.0.0.0:81".into(),
            differs: true,
            peers_removed: vec![leaving("web/10.0.0.1:80", 0), leaving("web/10.0.0.2:80", 3)],
            listeners_removed: vec!["0.0.0.0:81".into()],
            ended: Vec::new(),
            needs_restart: vec!["workers".into()],
        };
        assert_eq!(
            shown(&plan),
            "-web/10.0.0.1:80, -listen 0.0.0.0:81
  web/10.0.0.1:80 goes; it has no request in flight
  web/10.0.0.2:80 goes; it finishes the 3 requests that it has
  0.0.0.0:81 refuses new connections; those that it has live on
  `workers` takes effect at the next start of weir
"
        );
    }
}
