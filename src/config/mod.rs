//! What did the user ask for? `upstream.toml` → written (with spans) → [`Config`], or every mistake at once.

use std::fs::File;
use std::path::{Path, PathBuf};

mod address;
mod balance;
mod decode;
pub mod diagnostic;
pub mod directives;
mod entry;
pub mod env;
pub mod expect;
mod files;
mod json;
pub mod json_test;
pub mod model;
pub mod peers;
pub mod places;
mod redact;
pub mod reference;
pub mod suggest;
mod syntax;
pub mod template;
mod trusted_proxies;
pub mod units;
mod written;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use entry::server_from;
pub use env::Env;
pub use model::Config;
pub use trusted_proxies::TrustedProxies;

use crate::file;

/// A file that was understood.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is allowed and probably not meant. Often empty.
    pub warnings: Diagnostics,
    /// The files that were read beside it: certificates and keys.
    pub files: Vec<PathBuf>,
}

/// The largest file that is read, in bytes: somebody's log or disk image is refused, not parsed.
const MAX_FILE: u64 = 16 << 20;

/// Where `run` and `check` look when neither `-c` nor `WEIR_CONFIG` says where.
pub const SEARCHED: [&str; 2] = ["./upstream.toml", "/etc/weir/upstream.toml"];

/// Reads and checks a file. `Err` holds every mistake in it, or why it cannot be read.
pub fn load(path: &Path, env: &Env) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    match File::open(path).and_then(|file| file::text_of(file, MAX_FILE)) {
        Ok(text) => parse(&name, &text, env),
        Err(error) => {
            let mistake = Diagnostic::error(format!("the configuration cannot be read: {error}"));
            Err(Diagnostics::new(&name, "", vec![mistake]))
        }
    }
}

/// Checks the text of a file; `name` is what diagnostics call it.
pub fn parse(name: &str, text: &str, env: &Env) -> Result<Loaded, Diagnostics> {
    let (config, mut found, files) = decode::decode(text, env);
    found.sort_by_key(|diagnostic| diagnostic.position());
    if found.iter().any(Diagnostic::is_error) {
        return Err(Diagnostics::new(name, text, found).with_files(files));
    }
    Ok(Loaded { config, warnings: Diagnostics::new(name, text, found), files })
}

/// Which file to use: the one named on the command line (`-c`), the one `WEIR_CONFIG` names, else the first of
/// [`SEARCHED`] that exists. `Err` says where it looked.
pub fn find(named: Option<&Path>, env: &Env) -> Result<PathBuf, Diagnostics> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = env.get("WEIR_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    if let Some(path) = SEARCHED.iter().map(Path::new).find(|path| path.exists()) {
        return Ok(path.to_owned());
    }
    let mistake = Diagnostic::error(format!("no configuration: neither {} nor {} exists", SEARCHED[0], SEARCHED[1]))
        .help("name a file: `-c upstream.toml`, or set WEIR_CONFIG")
        .help("to see weir at work without any file: `weir demo`");
    Err(Diagnostics::new("", "", vec![mistake]))
}

#[cfg(test)]
mod tests;
