//! What outlives the process? One small file of named sections, which is replaced whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The layout of the file. Another one is refused, not guessed at.
const VERSION: u64 = 1;

/// The largest file that is read, in bytes: what weir writes is far smaller.
const MAX_FILE: u64 = 16 << 20;

/// `state_file`: what weir knows that stands in no configuration. Mode 0600, for there may be secrets in it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    sections: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u64,
    sections: BTreeMap<String, Value>,
}

impl StateFile {
    /// Reads it; a file that is missing is an empty one. One that is broken is moved aside, so that nothing is lost, and
    /// what there is to say of it comes with the empty one.
    pub fn open(path: &Path) -> (StateFile, Option<String>) {
        let empty = StateFile { path: path.to_owned(), sections: BTreeMap::new() };
        let why = match read(path) {
            Ok(Some(sections)) => return (StateFile { sections, ..empty }, None),
            Ok(None) => return (empty, None),
            Err(why) => why,
        };
        let aside = with_suffix(path, ".broken");
        let moved = match fs::rename(path, &aside) {
            Ok(()) => format!("it is now {}", aside.display()),
            Err(error) => format!("and it cannot be moved aside: {error}"),
        };
        (empty, Some(format!("the state file {} is not used: {why}; {moved}", path.display())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was put under this name last.
    pub fn section(&self, name: &str) -> Option<&Value> {
        self.sections.get(name)
    }

    /// Puts a value under a name, and writes the file if that changes it. It is on the disk when this returns, or as it
    /// was before.
    ///
    /// # Errors
    /// If it cannot be written. The value counts all the same, and is written with the next one.
    pub fn put(&mut self, name: &str, value: Value) -> io::Result<()> {
        if self.sections.get(name) == Some(&value) {
            return Ok(());
        }
        self.sections.insert(name.to_owned(), value);
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let contents = Contents { version: VERSION, sections: self.sections.clone() };
        let mut text = serde_json::to_string_pretty(&contents)?;
        text.push('\n');
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let fresh = with_suffix(&self.path, ".new");
        // What a process that was killed has left may have another owner or mode.
        let _ = fs::remove_file(&fresh);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        // The name, too, must survive a power cut.
        File::open(folder)?.sync_all()
    }
}

/// The sections; `None`: there is no file.
fn read(path: &Path) -> Result<Option<BTreeMap<String, Value>>, String> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let contents: Contents = serde_json::from_str(&text).map_err(|error| format!("it cannot be read: {error}"))?;
    match contents.version {
        VERSION => Ok(Some(contents.sections)),
        other => Err(format!("it has the version {other}, and this weir knows {VERSION}")),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn in_a_folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("state.json");
        (folder, path)
    }

    #[test]
    fn what_is_put_is_there_when_the_file_is_opened_again() {
        let (_folder, path) = in_a_folder();
        let (mut state, said) = StateFile::open(&path);
        assert_eq!((state.section("a"), said), (None, None));
        state.put("a", json!({"x": 1})).expect("written");
        state.put("b", json!("y")).expect("written");
        let (state, said) = StateFile::open(&path);
        assert_eq!((state.section("a"), state.section("b"), said), (Some(&json!({"x": 1})), Some(&json!("y")), None));
    }

    #[test]
    fn nobody_else_may_read_it_and_no_half_of_it_lies_about() {
        let (_folder, path) = in_a_folder();
        let (mut state, _) = StateFile::open(&path);
        state.put("a", json!(1)).expect("written");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(path.parent().expect("a folder")).expect("readable").collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn what_a_killed_process_left_beside_it_is_no_obstacle() {
        let (_folder, path) = in_a_folder();
        let (mut state, _) = StateFile::open(&path);
        state.put("a", json!(1)).expect("written");
        fs::write(with_suffix(&path, ".new"), "{\"vers").expect("written");
        state.put("a", json!(2)).expect("written");
        assert_eq!(StateFile::open(&path).0.section("a"), Some(&json!(2)));
    }

    #[test]
    fn a_broken_file_is_moved_aside_and_said() {
        for (text, why) in [
            ("{\"version\": 1, \"sections\": {\"a\"", "cannot be read"),
            ("", "cannot be read"),
            ("{\"version\": 2, \"sections\": {}}", "version 2"),
        ] {
            let (_folder, path) = in_a_folder();
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, text).expect("written");
            let (state, said) = StateFile::open(&path);
            assert_eq!(state.section("a"), None);
            let said = said.expect("said");
            assert!(said.contains(why) && said.contains("state.json.broken"), "{said}");
            assert_eq!(fs::read_to_string(with_suffix(&path, ".broken")).expect("kept"), text);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_and_the_value_counts_nevertheless() {
        let (mut state, _) = StateFile::open(Path::new("/proc/weir/state.json"));
        assert!(state.put("a", json!(1)).is_err());
        assert_eq!(state.section("a"), Some(&json!(1)));
    }
}
