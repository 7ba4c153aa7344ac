//! What do `${NAME}` stand for? The process's environment, then an `.env` beside the file; read once, at the edge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// A snapshot of what the surroundings say. The only way the configuration sees the process it runs in.
#[derive(Clone, Debug, Default)]
pub struct Env {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    mistakes: Vec<String>,
    admin_socket: PathBuf,
    folder: PathBuf,
    /// Folders of a container, and where they are here.
    mounts: Vec<(PathBuf, PathBuf)>,
}

impl Env {
    /// The environment of this process, and `dir/.env` if there is one. What is wrong with that file becomes an error
    /// of every configuration that is parsed with this value.
    pub fn process(dir: &Path) -> Env {
        let process =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut env = Env { process: process.collect(), ..Env::default() };
        let path = dir.join(".env");
        match std::fs::read_to_string(&path) {
            Ok(text) => env.read_file(&path.display().to_string(), &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => env.mistakes.push(format!("cannot read {}: {error}", path.display())),
        }
        env.admin_socket = env.choose_admin_socket();
        env.folder = dir.to_owned();
        env
    }

    /// The environment of this process for this configuration file: with the `.env` of its folder.
    pub fn beside(path: &Path) -> Env {
        match path.parent() {
            Some(dir) if dir != Path::new("") => Env::process(dir),
            _ => Env::process(Path::new(".")),
        }
    }

    /// The environment of a container with these variables and mounts (where in it, where here), for a configuration in
    /// `dir`: with the `.env` there.
    pub fn of_container(variables: BTreeMap<String, String>, mounts: Vec<(PathBuf, PathBuf)>, dir: &Path) -> Env {
        let dir = if dir == Path::new("") { Path::new(".") } else { dir };
        let admin_socket = PathBuf::from("/run/weir/weir.sock");
        Env { process: variables, admin_socket, mounts, ..Env::process(dir) }
    }

    /// Where a path of the configuration is here: below its folder, or where a container's mount has it.
    pub(super) fn here(&self, path: &Path) -> PathBuf {
        let mut inside = self.mounts.iter().filter_map(|(there, here)| Some((here, path.strip_prefix(there).ok()?)));
        match inside.next() {
            Some((here, rest)) if rest == Path::new("") => here.clone(),
            Some((here, rest)) => here.join(rest),
            None => self.folder.join(path),
        }
    }

    /// An environment of these variables alone, for tests and simulations.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Env {
        let process = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let admin_socket = PathBuf::from("/run/weir/weir.sock");
        Env { process: process.collect(), admin_socket, ..Env::default() }
    }

    /// The value of a variable: the process's, else that of `.env`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.process.get(name).or_else(|| self.file.get(name)).map(String::as_str)
    }

    /// Where the admin listener listens when the file does not say: `$XDG_RUNTIME_DIR/weir.sock`, else
    /// `/run/weir/weir.sock` if that folder can be written, else `/tmp/weir-UID/weir.sock`, whose folder the listener
    /// must make, mode 0700. `weir healthcheck` without arguments asks here.
    pub fn admin_socket(&self) -> &Path {
        &self.admin_socket
    }

    /// The folder of the configuration, where its relative paths to `servers_file` begin.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is wrong with `.env`. Names lines, never shows them.
    pub(super) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    fn choose_admin_socket(&self) -> PathBuf {
        if let Some(dir) = self.get("XDG_RUNTIME_DIR").filter(|dir| dir.starts_with('/')) {
            return Path::new(dir).join("weir.sock");
        }
        if rustix::fs::access("/run/weir", Access::WRITE_OK | Access::EXEC_OK).is_ok() {
            return PathBuf::from("/run/weir/weir.sock");
        }
        PathBuf::from(format!("/tmp/weir-{}/weir.sock", rustix::process::getuid().as_raw()))
    }

    /// `NAME=value` a line; `#` comments, `export ` and one pair of quotes around the value are allowed.
    fn read_file(&mut self, path: &str, text: &str) {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let assignment = line.strip_prefix("export ").unwrap_or(line).split_once('=');
            match assignment.map(|(name, value)| (name.trim_end(), unquote(value.trim()))) {
                Some((name, Some(value))) if is_name(name) => {
                    self.file.insert(name.to_owned(), value);
                }
                Some((_, None)) => self.mistakes.push(format!("{path}:{number}: the quote is never closed")),
                _ => self.mistakes.push(format!("{path}:{number}: expected NAME=value")),
            }
        }
    }
}

/// What a file of variables says, as `env_file` of a compose file reads it; lines that say nothing are passed over.
pub fn variables_of(text: &str) -> BTreeMap<String, String> {
    let mut env = Env::default();
    env.read_file("", text);
    env.file
}

/// Whether a variable may be called so: letters, digits and `_`, not beginning with a digit.
pub(super) fn is_name(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The value without its quotes, or without the comment behind it; `None`: a quote is not closed.
fn unquote(value: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let (inside, behind) = rest.split_once(quote)?;
            let behind = behind.trim_start();
            return (behind.is_empty() || behind.starts_with('#')).then(|| inside.to_owned());
        }
    }
    Some(value.split_once(" #").map_or(value, |(value, _)| value).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Env {
        let mut env = Env::of([("SET", "process")]);
        env.read_file(".env", text);
        env
    }

    #[test]
    fn a_line_is_a_name_and_a_value() {
        let table = [
            ("A=1", "1"),
            ("A = 1 ", "1"),
            ("export A=1", "1"),
            ("A=", ""),
            ("A=a b", "a b"),
            ("A=a#b", "a#b"),
            ("A=a # b", "a"),
            ("A=\"a # b\" # c", "a # b"),
            ("A='$x'", "$x"),
            ("A=b=c", "b=c"),
            ("# A=2\n\nA=1\r", "1"),
        ];
        for (text, value) in table {
            let env = read(text);
            assert_eq!((env.get("A"), env.mistakes()), (Some(value), &[][..]), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_named_by_its_line_and_not_shown() {
        let table = [
            ("A", ".env:1: expected NAME=value"),
            ("\n1A=1", ".env:2: expected NAME=value"),
            ("=secret", ".env:1: expected NAME=value"),
            ("A=\"secret", ".env:1: the quote is never closed"),
            ("A='a'b", ".env:1: the quote is never closed"),
        ];
        for (text, mistake) in table {
            assert_eq!(read(text).mistakes(), [mistake], "{text:?}");
        }
    }

    #[test]
    fn the_process_beats_the_file() {
        let env = read("SET=file\nOTHER=file");
        assert_eq!((env.get("SET"), env.get("OTHER"), env.get("NONE")), (Some("process"), Some("file"), None));
    }

    #[test]
    fn the_file_beside_the_configuration_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "WEIR_TEST_ONLY=7\nnonsense\n").unwrap();
        let env = Env::beside(&folder.path().join("upstream.toml"));
        assert_eq!(env.get("WEIR_TEST_ONLY"), Some("7"));
        assert_eq!(env.mistakes().len(), 1);
        assert!(env.admin_socket().is_absolute());
    }
}
