//! `weir run`: serves until told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::{self, Options};
use crate::config::{self, Env};
use crate::net::Inherited;

/// Runs the load balancer.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration; otherwise $WEIR_CONFIG, ./upstream.toml, /etc/weir/upstream.toml
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take over the listening sockets of the weir that runs, which then finishes what it has and ends. Without one, start
    /// as usual. PATH: where it answers [default: `takeover` of the configuration]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub takeover: Option<Option<PathBuf>>,
}

/// Returns when weir was stopped (0), or could not start (1).
pub fn run(args: &RunArgs) -> ExitCode {
    if !super::begin_logging() {
        return ExitCode::from(2);
    }
    // Before there are threads.
    let inherited = Inherited::from_service_manager();
    let here = Env::process(std::path::Path::new("."));
    let loaded = config::find(args.config.as_deref(), &here).and_then(|path| {
        let loaded = config::load(&path, &Env::beside(&path))?;
        Ok((path, loaded))
    });
    let (path, loaded) = match loaded {
        Ok(found) => found,
        Err(diagnostics) => {
            diagnostics.print();
            return ExitCode::from(1);
        }
    };
    loaded.warnings.print();
    tracing::info!("weir {} with {}", env!("CARGO_PKG_VERSION"), path.display());
    let takeover = match args.takeover.clone().map(|place| place.or_else(|| loaded.config.takeover.clone())) {
        Some(None) => {
            tracing::error!(
                "--takeover: the configuration has no place for it: `takeover` is \"off\", or the admin listener is no unix \
                 socket; set `takeover`, or write --takeover=PATH"
            );
            return ExitCode::from(1);
        }
        place => place.flatten(),
    };
    let (config, files) = (loaded.config, loaded.files);
    serve(Options { config, file: Some(path), files, takeover, inherited, started: Box::new(|| {}) })
}

/// Runs the application and says why if it does not start.
pub fn serve(options: Options) -> ExitCode {
    match app::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(1)
        }
    }
}
