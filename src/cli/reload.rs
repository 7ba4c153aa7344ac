//! `weir reload`: reads the file again, waits until it is in force, and says what changed.

use std::process::ExitCode;

use clap::Args;

use super::ask::{self, AdminArgs, Asker, ConfigArgs};
use crate::admin::change::Reloaded;

/// Whose file.
#[derive(Args, Clone, Debug)]
pub struct ReloadArgs {
    /// Which one is asked.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where it is asked.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Exits with 0 if the file is in force, and with 1 and every mistake if it is refused.
pub fn run(args: &ReloadArgs) -> ExitCode {
    ask::block_on(async {
        let asker = Asker::new(&args.admin, args.config.config.as_deref())?;
        let answer = asker.post("/reload", None).await?;
        if let Some(why) = answer.error() {
            return Err(why);
        }
        let Reloaded { file, changed, diagnostics } = ask::read(answer.body)?;
        anstream::eprint!("{diagnostics}");
        match changed {
            Some(changed) => {
                anstream::println!("{file} is in force: {changed}");
                Ok(ExitCode::SUCCESS)
            }
            None => Err(format!("{file} is not used; the configuration in force stays")),
        }
    })
}
