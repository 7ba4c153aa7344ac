//! Which upstreams outlive a file that removes them? Where it removes a listener as well, those that it had: connections
//! of that listener go by the file before, and may ask once more. Pure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::publisher::addresses;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::model::Upstream;

/// How long they are kept. An idle client has 5 s to ask once more, and its body may take a while.
const GRACE: Duration = Duration::from_secs(10);

/// The latest file, and what is kept beyond it.
#[derive(Debug)]
pub(super) struct Parting {
    file: Arc<Config>,
    /// What the file lacks, and until when that is kept.
    kept: Vec<(Upstream, Timestamp)>,
}

impl Parting {
    /// This file alone.
    pub(super) fn new(file: Arc<Config>) -> Parting {
        Parting { file, kept: Vec::new() }
    }

    /// After another file, or the same again: what is due is let go of.
    pub(super) fn after(&self, file: Arc<Config>, now: Timestamp) -> Parting {
        let listened: HashSet<_> = addresses(&file).into_iter().map(|listen| &listen.address).collect();
        let closes = addresses(&self.file).into_iter().any(|listen| !listened.contains(&listen.address));
        let names: HashSet<&str> = file.upstreams.iter().map(|upstream| &*upstream.name).collect();
        let still = self.kept.iter().filter(|(_, until)| *until > now).cloned();
        let had = self.file.upstreams.iter().filter(|_| closes).map(|upstream| (upstream.clone(), now + GRACE));
        let kept = still.chain(had).filter(|(upstream, _)| !names.contains(&*upstream.name)).collect();
        Parting { file, kept }
    }

    /// The file as it was read.
    pub(super) fn file(&self) -> &Arc<Config> {
        &self.file
    }

    /// The file with what is kept beyond it.
    pub(super) fn config(&self) -> Arc<Config> {
        if self.kept.is_empty() {
            return Arc::clone(&self.file);
        }
        let mut config = (*self.file).clone();
        // Behind the others, which servers and streams name by their places.
        config.upstreams.extend(self.kept.iter().map(|(upstream, _)| upstream.clone()));
        Arc::new(config)
    }

    /// What is kept here, and was in the file `before`.
    pub(super) fn begun(&self, before: &Parting) -> Vec<Arc<str>> {
        let names: HashSet<&str> = before.file.upstreams.iter().map(|upstream| &*upstream.name).collect();
        let kept = self.kept.iter().map(|(upstream, _)| &upstream.name);
        kept.filter(|name| names.contains(&***name)).cloned().collect()
    }

    /// When the next of them is let go of; `None`: there is none.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.kept.iter().map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};

    /// A file with these upstreams, the first of which is listened for at these ports.
    fn file(upstreams: &[&str], ports: &[u16]) -> Arc<Config> {
        let groups = upstreams.iter().map(|name| format!("[upstream.{name}]\nservers = [\"127.0.0.1:1\"]\n"));
        let mut text: String = groups.collect();
        for port in ports {
            let name = upstreams[0];
            text += &format!("[[stream]]\nlisten = \"127.0.0.1:{port}\"\nproxy_pass = \"{name}\"\n");
        }
        Arc::new(config::parse("upstream.toml", &text, &Env::default()).expect("a good file").config)
    }

    fn names(config: &Config) -> Vec<&str> {
        config.upstreams.iter().map(|upstream| &*upstream.name).collect()
    }

    const fn second(count: u64) -> Timestamp {
        Timestamp::micros(count * 1_000_000)
    }

    #[test]
    fn upstreams_that_go_with_a_listener_are_kept_for_ten_seconds() {
        let before = Parting::new(file(&["web", "api"], &[1, 2]));
        // the next file; what is in force then
        let table: [(Arc<Config>, &[&str]); 4] = [
            (file(&["web", "api"], &[1]), &["web", "api"]),
            (file(&["web"], &[1]), &["web", "api"]),
            (file(&["web"], &[1, 2]), &["web"]),
            (file(&["web"], &[1, 2, 3]), &["web"]),
        ];
        for (next, in_force) in table {
            let after = before.after(next, second(1));
            assert_eq!(names(&after.config()), in_force);
            let kept = after.next_end().map(|end| (end, after.begun(&before)));
            let api_is_kept = after.file().upstreams.len() < in_force.len();
            assert_eq!(kept, api_is_kept.then(|| (second(11), vec!["api".into()])));
            let same = || Arc::clone(after.file());
            assert_eq!(names(&after.after(same(), second(10)).config()), in_force);
            assert_eq!(names(&after.after(same(), second(11)).config()), names(&same()));
        }
    }

    #[test]
    fn one_that_comes_back_is_the_files_and_one_that_goes_later_has_its_own_time() {
        let first = Parting::new(file(&["web", "api", "old"], &[1, 2, 3]));
        let second_file = first.after(file(&["web", "api"], &[1, 2]), second(1));
        let third = second_file.after(file(&["web"], &[1]), second(5));
        assert_eq!(names(&third.config()), ["web", "old", "api"]);
        assert_eq!(third.begun(&second_file), ["api".into()]);
        assert_eq!(third.next_end(), Some(second(11)));
        let fourth = third.after(file(&["web", "old"], &[1]), second(6));
        assert_eq!(names(&fourth.config()), ["web", "old", "api"]);
        assert_eq!(fourth.next_end(), Some(second(15)));
    }
}
