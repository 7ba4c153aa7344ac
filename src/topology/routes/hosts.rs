//! Which server has this name?

use std::collections::HashMap;

use crate::config::model::ServerName;

/// Longest host name that is looked up; a longer one is nobody's. (RFC 1035, section 2.3.4: 255 octets)
const LONGEST: usize = 255;

/// The names of a listener's servers. A look-up hashes the host once per distinct length of the wildcards, so it does
/// not grow with the number of servers.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<Box<[u8]>, usize>,
    suffix: Affixes,
    prefix: Affixes,
}

/// Wildcards of one kind, and their distinct lengths, longest first.
#[derive(Debug, Default)]
struct Affixes {
    servers: HashMap<Box<[u8]>, usize>,
    lengths: Vec<usize>,
}

impl Names {
    /// The first server with a name keeps it.
    pub(super) fn insert(&mut self, name: &ServerName, server: usize) {
        match name {
            ServerName::Exact(name) => {
                self.exact.entry(name.as_bytes().into()).or_insert(server);
            }
            ServerName::Suffix(suffix) => self.suffix.insert(suffix.as_bytes(), server),
            ServerName::Prefix(prefix) => self.prefix.insert(prefix.as_bytes(), server),
        }
    }

    /// Exact, else the longest suffix, else the longest prefix.
    pub(super) fn find(&self, host: &[u8]) -> Option<usize> {
        if self.exact.is_empty() && self.suffix.lengths.is_empty() && self.prefix.lengths.is_empty() {
            return None;
        }
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut lower = [0; LONGEST];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        let exact = self.exact.get(&*lower).copied();
        exact
            .or_else(|| self.suffix.find(lower, |host, length| &host[host.len() - length..]))
            .or_else(|| self.prefix.find(lower, |host, length| &host[..length]))
    }
}

impl Affixes {
    fn insert(&mut self, affix: &[u8], server: usize) {
        self.servers.entry(affix.into()).or_insert(server);
        if let Err(at) = self.lengths.binary_search_by(|length| affix.len().cmp(length)) {
            self.lengths.insert(at, affix.len());
        }
    }

    /// A wildcard stands for at least one character: `*.example.org` is not `.example.org`.
    fn find(&self, host: &[u8], part: impl Fn(&[u8], usize) -> &[u8]) -> Option<usize> {
        let fitting = self.lengths.iter().filter(|&&length| length < host.len());
        fitting.filter_map(|&length| self.servers.get(part(host, length))).next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        let written = [
            ServerName::Exact("example.org".into()),
            ServerName::Suffix(".example.org".into()),
            ServerName::Suffix(".deep.example.org".into()),
            ServerName::Prefix("www.".into()),
            ServerName::Prefix("www.example.".into()),
            ServerName::Exact("www.example.net".into()),
        ];
        written.iter().enumerate().for_each(|(server, name)| names.insert(name, server));
        names
    }

    #[test]
    fn exact_beats_the_longest_suffix_which_beats_the_longest_prefix() {
        let table: [(&str, Option<usize>); 14] = [
            ("example.org", Some(0)),
            ("EXAMPLE.Org", Some(0)),
            ("example.org.", Some(0)),
            ("a.example.org", Some(1)),
            ("a.b.example.org", Some(1)),
            ("www.example.org", Some(1)),
            ("a.deep.example.org", Some(2)),
            ("deep.example.org", Some(1)),
            (".example.org", None),
            ("www.other.test", Some(3)),
            ("www.example.com", Some(4)),
            ("www.example.net", Some(5)),
            ("", None),
            ("other.test", None),
        ];
        for (host, server) in table {
            assert_eq!(names().find(host.as_bytes()), server, "{host}");
        }
    }

    #[test]
    fn a_host_longer_than_any_name_is_nobodys() {
        let long = [b"a".repeat(250), b".example.org".to_vec()].concat();
        assert_eq!(names().find(&long), None);
    }

    #[test]
    fn the_first_server_with_a_name_keeps_it() {
        let mut names = names();
        names.insert(&ServerName::Exact("example.org".into()), 9);
        assert_eq!(names.find(b"example.org"), Some(0));
    }
}
