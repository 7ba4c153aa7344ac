//! Is what does not fit between a compose file and its `upstream.toml` shown as it should be, and do those fit that users
//! may copy?
//!
//! Each folder of `tests/compose_cases/` is checked, and what is said is compared with its `said`. In its
//! `compose.yaml`, a line `# files: a.yaml b.yaml` names the files to take, `# scale: app=3` is `--scale`, `# config: upstream.toml` is `-c`, and
//! `# env: NAME=value` the environment of `docker compose`. `WEIR_BLESS=1 cargo test --test compose` writes each `said`
//! anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use weir::compose;
use weir::config::Env;

/// What `weir check --compose` says. Paths are relative, as a user would type them: tests run in the package's root.
fn said_about(folder: &Path) -> String {
    let first = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let said = |word: &str| -> Vec<String> {
        let prefix = format!("# {word}: ");
        first.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let files: Vec<PathBuf> = match said("files").first() {
        Some(names) => names.split(' ').map(|name| folder.join(name)).collect(),
        None => vec![folder.join("compose.yaml")],
    };
    let scale: Vec<(String, u32)> = said("scale")
        .iter()
        .map(|scale| scale.split_once('=').unwrap())
        .map(|(service, number)| (service.to_owned(), number.parse().unwrap()))
        .collect();
    let environment = said("env");
    let env = Env::of(environment.iter().map(|variable| variable.split_once('=').unwrap()));
    let config = said("config").first().map(|path| folder.join(path));
    let outcome = compose::check(config.as_deref(), &files, &scale, &env);
    let mut said: String = outcome.found.iter().map(ToString::to_string).collect();
    writeln!(said, "mistakes: {}", outcome.mistakes()).unwrap();
    said
}

#[test]
fn every_case_is_answered_as_recorded() {
    let blessing = std::env::var_os("WEIR_BLESS").is_some();
    let mut cases: Vec<PathBuf> =
        fs::read_dir("tests/compose_cases").unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 20, "only {} cases were found", cases.len());
    let mut different = String::new();
    for case in cases {
        let said = said_about(&case);
        let recorded = case.join("said");
        if blessing {
            fs::write(&recorded, &said).unwrap();
        } else if fs::read_to_string(&recorded).unwrap_or_default() != said {
            writeln!(different, "--- {}\n{said}", case.display()).unwrap();
        }
    }
    assert!(different.is_empty(), "not as recorded (WEIR_BLESS=1 records anew):\n{different}");
}

/// The compose files of the repository, each with the `upstream.toml` that it mounts.
#[test]
fn the_compose_files_of_this_repository_fit() {
    let mut found = Vec::new();
    compose_files(Path::new("docker"), &mut found);
    assert!(found.len() >= 2, "{found:?}");
    for file in found {
        let folder = file.parent().unwrap().to_owned();
        let outcome = compose::check(None, std::slice::from_ref(&file), &[], &Env::process(&folder));
        let said: String = outcome.found.iter().map(ToString::to_string).collect();
        assert!(outcome.mistakes() == 0, "{}:\n{said}", file.display());
    }
}

fn compose_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            compose_files(&path, found);
        } else if path.file_name().is_some_and(|name| name == "compose.yaml") {
            found.push(path);
        }
    }
}
