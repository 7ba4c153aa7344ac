//! Does a compose file fit the `upstream.toml` that is used in it? `weir check --compose`: offline, from the files alone.
//!
//! `load` reads the files of a project into a [`Project`]; `check` compares it with a [`Config`]
//! and says what cannot work, with places in both.

mod check;
mod command;
mod decode;
mod dockerfile;
mod image;
mod interpolate;
mod load;
pub mod model;
mod yaml;

use std::path::{Path, PathBuf};

use crate::config::diagnostic::Span;
use crate::config::{self, Config, Diagnostic, Diagnostics, Env, places};
pub use model::Project;

/// Where something stands: in which file of the project, and there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Project::sources`].
    pub file: usize,
    /// In bytes.
    pub span: Span,
}

impl Place {
    /// The diagnostic, pointing here.
    fn of(&self, diagnostic: Diagnostic) -> Diagnostic {
        diagnostic.at(self.span.clone()).in_file(self.file + 1)
    }

    /// The diagnostic, pointing here, too.
    fn beside(&self, diagnostic: Diagnostic, label: impl Into<String>) -> Diagnostic {
        diagnostic.beside(self.file + 1, self.span.clone(), label)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Outcome {
    /// The configuration that was checked; `None`: it, or the compose file, cannot be read.
    pub config: Option<(PathBuf, Config)>,
    /// Mistakes and warnings, of `upstream.toml` alone and of both together.
    pub found: Vec<Diagnostics>,
}

impl Outcome {
    /// How many mistakes there are.
    pub fn mistakes(&self) -> usize {
        self.found.iter().map(Diagnostics::mistakes).sum()
    }
}

/// Checks compose files, of which later ones change earlier ones, with the `upstream.toml` at `path`, or with the one
/// that their weir mounts. `scale` is what `--scale` says; `env` is the environment of `docker compose`, which reads
/// `.env` beside the first file.
pub fn check(path: Option<&Path>, files: &[PathBuf], scale: &[(String, u32)], env: &Env) -> Outcome {
    let project = match load::project(files, scale, env) {
        Ok(project) => project,
        Err(mistakes) => return Outcome { config: None, found: vec![mistakes] },
    };
    let path = match path.map(Path::to_owned).or_else(|| image::mounted_config(&project)) {
        Some(path) => path,
        None => match config::find(None, env) {
            Ok(path) => path,
            Err(mistakes) => return Outcome { config: None, found: vec![mistakes] },
        },
    };
    let weirs = image::weirs(&project, &path);
    let folder = path.parent().unwrap_or(Path::new(""));
    let env = match weirs.first() {
        Some(weir) => {
            let mounts = weir.mounts.iter().map(|mount| (PathBuf::from(&mount.target), mount.source.clone()));
            Env::of_container(image::environment(&project, weir), mounts.collect(), folder)
        }
        None => Env::beside(&path),
    };
    let loaded = match config::load(&path, &env) {
        Ok(loaded) => loaded,
        Err(mistakes) => return Outcome { config: None, found: vec![mistakes] },
    };
    // It was just read: if it cannot be read again, places are missing and nothing else.
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let places = places::of(&text);
    let found = check::Check { project: &project, config: &loaded.config, places: &places, path: &path, weirs }.run();
    let found = Diagnostics::new(&path.display().to_string(), &text, found).with_sources(project.sources.clone());
    Outcome { config: Some((path, loaded.config)), found: vec![loaded.warnings, found] }
}
