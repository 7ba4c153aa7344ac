//! What seals cookies where nobody has written a secret, and who hears of it?

use std::io;

use serde_json::Value;

use crate::config::model::{Config, Sticky};
use crate::state::StateFile;

/// The name of the section.
const SECTION: &str = "sticky_secret";

/// The secret of an earlier process.
pub fn of(state: &StateFile) -> Option<[u8; 32]> {
    let text = state.section(SECTION)?.as_str().filter(|text| text.len() == 64 && text.is_ascii())?;
    let mut secret = [0; 32];
    for (byte, at) in secret.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(secret)
}

/// Keeps it for the next process.
///
/// # Errors
/// Those of the file.
pub fn keep(state: &mut StateFile, secret: &[u8]) -> io::Result<()> {
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    state.put(SECTION, Value::String(text))
}

/// Says so of each upstream that sets sticky cookies and has no `secret`, unless it was so `before`.
pub fn tell_of_made_up(before: Option<&Config>, config: &Config) {
    let known: Vec<&str> = before.map(made_up).unwrap_or_default();
    let who = match config.state_file {
        Some(_) => "other instances do",
        None => "a restart and other instances do",
    };
    for name in made_up(config).into_iter().filter(|name| !known.contains(name)) {
        tracing::info!(
            "upstream {name} seals its sticky cookies with a secret made up for this process: {who} not know them; \
             `secret` in `sticky` keeps them good"
        );
    }
}

/// The upstreams whose cookies have no `secret` of the file's.
fn made_up(config: &Config) -> Vec<&str> {
    let is_made_up =
        |sticky: &Option<Sticky>| matches!(sticky, Some(Sticky::Cookie(cookie)) if cookie.secret.is_none());
    config.upstreams.iter().filter(|upstream| is_made_up(&upstream.sticky)).map(|upstream| &*upstream.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_and_found_again_and_nothing_else_is_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let secret: [u8; 32] = std::array::from_fn(|i| i as u8 * 8);
        let (mut state, _) = StateFile::open(&path);
        assert_eq!(of(&state), None);
        keep(&mut state, &secret).unwrap();
        assert_eq!(of(&StateFile::open(&path).0), Some(secret));
        for other in ["", "00", &"0g".repeat(32), &"\u{e9}".repeat(32), &"0".repeat(65)] {
            state.put(SECTION, Value::String(other.to_owned())).unwrap();
            assert_eq!(of(&state), None, "{other}");
        }
    }
}
