//! Is every mistake shown as it should be, and are the files of `config/` fine?
//!
//! Each `tests/config_cases/NAME.toml` is checked, and what is said about it is compared with `NAME.stderr`. Lines
//! `# env: NAME=value` set its environment. `WEIR_BLESS=1 cargo test --test config` writes the `.stderr` files anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use weir::config::{self, Env};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn blessing() -> bool {
    std::env::var_os("WEIR_BLESS").is_some()
}

fn env_of(text: &str) -> Env {
    Env::of(text.lines().filter_map(|line| line.strip_prefix("# env: ")?.split_once('=')))
}

/// What `weir check` says about a text.
fn said_about(text: &str) -> String {
    match config::parse("upstream.toml", text, &env_of(text)) {
        Ok(loaded) => format!("{}fine\n", loaded.warnings),
        Err(mistakes) => mistakes.to_string(),
    }
}

#[test]
fn every_case_is_answered_as_recorded() {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder("tests/config_cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "only {} cases were found", cases.len());
    let mut different = String::new();
    for case in cases {
        let said = said_about(&fs::read_to_string(&case).unwrap());
        let recorded = case.with_extension("stderr");
        if blessing() {
            fs::write(&recorded, &said).unwrap();
        } else if fs::read_to_string(&recorded).unwrap_or_default() != said {
            writeln!(different, "--- {}\n{said}", case.display()).unwrap();
        }
    }
    assert!(different.is_empty(), "not as recorded (WEIR_BLESS=1 records anew):\n{different}");
}
