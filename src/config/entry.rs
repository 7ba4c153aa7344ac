//! What would this be as an entry of `servers`? For servers that do not come from a file: the admin API, the state file.

use super::model::UpstreamServer;
use super::{Env, parse};

/// The server that an entry of `servers` with these keys means, with the file's rules and defaults.
///
/// # Errors
/// What is wrong with it, and what to type instead.
pub fn server_from(keys: &toml::Table) -> Result<UpstreamServer, String> {
    let entry = toml::Value::Table(keys.clone());
    // Beside another one, for a group needs a server that is no backup.
    let text = format!("[upstream.group]\nservers = [\"192.0.2.1:1\", {entry}]\n");
    match parse("", &text, &Env::of([])) {
        Ok(loaded) => {
            let group = loaded.config.upstreams.into_iter().next();
            group.and_then(|group| group.servers.into_iter().nth(1)).ok_or_else(|| "it is no server".to_owned())
        }
        Err(mistakes) => Err(mistakes.sentences()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Address;

    fn of(text: &str) -> Result<UpstreamServer, String> {
        server_from(&text.parse().expect("TOML"))
    }

    #[test]
    fn an_entry_has_the_rules_and_the_defaults_of_the_file() {
        let server = of("address = \"App:5000\"\nweight = 3\nbackup = true\nfail_timeout = \"1m\"").expect("fine");
        assert_eq!(server.address, Address::Name { host: "app".into(), port: 5000 });
        assert_eq!((server.weight, server.backup, server.max_fails), (3, true, 1));
        assert_eq!(server.fail_timeout.as_secs(), 60);
    }

    #[test]
    fn a_mistake_is_a_sentence_that_says_what_to_do() {
        for (text, said) in [
            ("address = \"app:0\"", "not a port"),
            ("address = \"http://app\"", "write `\"app\"`"),
            ("weight = 3", "address"),
            ("address = \"a\"\nweight = 0", "`weight`"),
            ("address = \"a\"\nwieght = 1", "did you mean `weight`"),
            ("address = \"a\"\ndown = true\ndrain = true", "either `down` or"),
            ("address = \"${HOME}\"", "HOME"),
        ] {
            let why = of(text).expect_err(text);
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
