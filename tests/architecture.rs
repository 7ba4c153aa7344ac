//! Does the code keep to the layers and invariants of `docs/ARCHITECTURE.md`?

#[path = "architecture/tokens.rs"]
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use tokens::{Token, tokens};

/// A module names only modules of a lower layer (docs/ARCHITECTURE.md §2).
const LAYERS: &[&[&str]] = &[
    &["clock", "date", "shutdown", "id", "share", "endpoint", "file"],
    &["affinity", "balancer", "health", "http1", "proxy_protocol", "shape", "tls"],
    &["config"],
    &["topology", "net", "probe", "telemetry", "state", "compose"],
    &["mailbox"],
    &["proxy", "control"],
    &["admin", "demo"],
    &["app"],
    &["cli"],
    &["main"],
];

/// The pure modules do no IO, so they have no use for these.
const PURE: &[&str] = &["affinity", "balancer", "health", "http1", "proxy_protocol", "shape"];
const IMPURE_CRATES: &[&str] =
    &["tokio", "tokio_util", "tracing", "serde", "serde_json", "hyper", "hyper_util", "socket2"];

#[test]
fn imports_point_downward() {
    let wrong: Vec<String> = sources().iter().flat_map(upward_imports).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    for source in sources() {
        assert!(source.is_crate_root() || layer(source.module()).is_some(), "{}: which layer is it in?", source.file);
    }
}

#[test]
fn pure_modules_know_no_runtime() {
    let wrong: Vec<String> = sources().iter().flat_map(impure_crates).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_clock_reads_time() {
    let wrong: Vec<String> = sources().iter().filter(|source| source.path != ["clock"]).flat_map(time_reads).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_publisher_stores_the_snapshot() {
    let holders = files(holds_the_snapshot);
    assert!(holders.iter().all(|file| file == "topology/live.rs"), "these hold a snapshot of their own: {holders:?}");
    let writers = files(publishes);
    assert!(writers.iter().all(|file| file == "control/publisher.rs"), "these publish a snapshot: {writers:?}");
}

#[test]
fn unsafe_is_forbidden() {
    let manifest: toml::Table = fs::read_to_string("Cargo.toml").unwrap().parse().unwrap();
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}

/// One file of `src`, as tokens.
struct Source {
    file: String,
    /// `["proxy", "http", "attempt"]`.
    path: Vec<String>,
    tokens: Vec<Token>,
}

impl Source {
    fn new(file: &str, text: &str) -> Self {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect();
        Source { file: file.to_owned(), path, tokens: tokens(text) }
    }

    fn module(&self) -> &str {
        &self.path[0]
    }

    /// `lib.rs` lists the modules and belongs to none.
    fn is_crate_root(&self) -> bool {
        self.path == ["lib"]
    }
}

/// Cargo runs tests in the root of the package.
fn sources() -> Vec<Source> {
    let root = PathBuf::from("src");
    let found: Vec<Source> = rust_files(&root)
        .iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap().to_str().expect("source files have plain names");
            Source::new(name, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(found.len() > 10, "only {} source files found", found.len());
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn upward_imports(source: &Source) -> Vec<String> {
    let from = source.module();
    if source.is_crate_root() {
        return Vec::new();
    }
    let below = |to: &str| layer(to).zip(layer(from)).is_some_and(|(to, from)| to < from);
    let mut wrong: Vec<String> = named_modules(source).into_iter().filter(|to| to != from && !below(to)).collect();
    wrong.dedup();
    wrong.iter().map(|to| format!("{}: `{from}` must not know `{to}`", source.file)).collect()
}

/// The top-level modules a file names: by `crate::`, by the library's own name, or by enough `super::`.
/// A glob import of the whole crate yields `*`.
fn named_modules(source: &Source) -> Vec<String> {
    let words = &source.tokens;
    let mut named = Vec::new();
    // How deep in inline modules each point is: `mod tests { … }` adds a `super`.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words[at].is("{") {
            braces.push(at >= 2 && words[at - 2].is("mod"));
        } else if words[at].is("}") {
            braces.pop();
        } else if !within_path(words, at) && is_path(words, at) {
            let depth = source.path.len() + braces.iter().filter(|inline| **inline).count();
            if let Some(rest) = crate_root(words, at, depth) {
                named.extend(path_heads(words, rest));
            }
        }
        at += 1;
    }
    named
}

fn is_path(words: &[Token], at: usize) -> bool {
    words.len() > at + 2 && words[at + 1].is(":") && words[at + 2].is(":")
}

/// The `super` in `self::super::x`, which is no beginning.
fn within_path(words: &[Token], at: usize) -> bool {
    at >= 3 && is_path(words, at - 3) && (words[at - 3].is("self") || words[at - 3].is("super"))
}

/// Where a path goes on after it has reached the root of this crate; `None` if it goes elsewhere.
fn crate_root(words: &[Token], at: usize, depth: usize) -> Option<usize> {
    match words[at].word()? {
        "crate" | "weir" => Some(at + 3),
        "self" if words.get(at + 3)?.is("super") => crate_root(words, at + 3, depth),
        "super" => {
            let supers = (0..).take_while(|n| is_path(words, at + 3 * n) && words[at + 3 * n].is("super")).count();
            (supers >= depth).then_some(at + 3 * supers)
        }
        _ => None,
    }
}

/// The first names after `crate::`: one, or those of a group `{a::b, c::{d, e}}`.
fn path_heads(words: &[Token], at: usize) -> Vec<String> {
    match words.get(at) {
        Some(Token::Word(word)) => vec![word.clone()],
        Some(Token::Mark('{')) => {
            let (mut heads, mut depth, mut expected) = (Vec::new(), 0, false);
            for token in &words[at..] {
                match token {
                    Token::Mark('{') => (depth, expected) = (depth + 1, depth == 0),
                    Token::Mark('}') => depth -= 1,
                    Token::Mark(',') => expected = depth == 1,
                    other if expected => {
                        expected = false;
                        heads.push(other.word().unwrap_or("*").to_owned());
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            heads.retain(|head| head != "self");
            heads
        }
        _ => vec!["*".to_owned()],
    }
}

fn impure_crates(source: &Source) -> Vec<String> {
    if !PURE.contains(&source.module()) {
        return Vec::new();
    }
    let words = &source.tokens;
    let names = (0..words.len()).filter(|at| is_path(words, *at)).filter_map(|at| words[at].word());
    names.filter(|name| IMPURE_CRATES.contains(name)).map(|name| format!("{}: knows `{name}`", source.file)).collect()
}

/// `Instant::now`, `SystemTime::now`, `UNIX_EPOCH.elapsed` and the like, by whatever path.
fn time_reads(source: &Source) -> Vec<String> {
    let patterns: [&[&str]; 3] =
        [&["Instant", ":", ":", "now"], &["SystemTime", ":", ":", "now"], &[".", "elapsed", "(", ")"]];
    let reads = patterns.iter().filter(|pattern| contains(&source.tokens, pattern));
    reads.map(|pattern| format!("{}: reads the clock by `{}`", source.file, pattern.concat())).collect()
}

/// The snapshot is the `Topology` in an `ArcSwap`, which `Live` wraps: others get a `Reader`.
fn holds_the_snapshot(source: &Source) -> bool {
    contains(&source.tokens, &["ArcSwap", "<", "Topology"])
}

/// Calls `Live::publish`. Unit tests may: each has a `Live` of its own.
fn publishes(source: &Source) -> bool {
    !source.path.contains(&"tests".to_owned())
        && contains(&without_tests(&source.tokens), &["live", ".", "publish", "("])
}

fn files(which: fn(&Source) -> bool) -> Vec<String> {
    sources().iter().filter(|source| which(source)).map(|source| source.file.clone()).collect()
}

/// Leaves out the blocks of `#[cfg(test)] mod … { … }`.
fn without_tests(words: &[Token]) -> Vec<Token> {
    const BEGIN: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < words.len() {
        if contains(&words[at..words.len().min(at + BEGIN.len())], &BEGIN) {
            let mut depth = 0;
            at += BEGIN.len() + 1;
            while at < words.len() {
                depth += i32::from(words[at].is("{")) - i32::from(words[at].is("}"));
                at += 1;
                if depth == 0 {
                    break;
                }
            }
        } else {
            kept.push(words[at].clone());
            at += 1;
        }
    }
    kept
}

fn contains(words: &[Token], pattern: &[&str]) -> bool {
    words.windows(pattern.len()).any(|window| window.iter().zip(pattern).all(|(word, text)| word.is(text)))
}

/// The checks themselves, on small files that are wrong.
mod checks {
    use super::*;

    #[track_caller]
    fn names(file: &str, text: &str, expected: &[&str]) {
        assert_eq!(named_modules(&Source::new(file, text)), expected, "in {text}");
    }

    #[test]
    fn a_use_names_its_module() {
        names("health/mod.rs", "use crate::proxy::http;", &["proxy"]);
        names("health/mod.rs", "use ::weir::proxy;", &["proxy"]);
        names("main.rs", "fn main() { weir::cli::main() }", &["cli"]);
    }

    #[test]
    fn a_group_names_all_its_modules() {
        names(
            "control/mod.rs",
            "use crate::{config::{Config, model}, self, topology::Live, net};",
            &["config", "topology", "net"],
        );
        names("control/mod.rs", "use crate::*;", &["*"]);
        names("control/mod.rs", "use crate::{*};", &["*"]);
    }

    #[test]
    fn a_path_in_the_code_names_its_module() {
        names("health/mod.rs", "fn f(x: &'static crate::app::App) -> u8 { x.y(crate::cli::Z) }", &["app", "cli"]);
        names("health/mod.rs", "let x = Vec::<crate::app::App>::new();", &["app"]);
        names("health/mod.rs", "macro_rules! m { () => { $crate::app::go() } }", &["app"]);
    }

    #[test]
    fn supers_that_reach_the_root_name_a_module() {
        names("clock.rs", "use super::app::App;", &["app"]);
        names("proxy/http/mod.rs", "use super::super::app::App;", &["app"]);
        names("proxy/http/mod.rs", "use super::retry::Next;", &[]);
        names("clock.rs", "mod tests { use super::*; use super::super::app; } use super::net;", &["app", "net"]);
        names("clock.rs", "use self::super::app::App;", &["app"]);
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let text = r####"
            //! [`crate::app`] // and crate::app
            /* crate::app /* nested */ crate::app */
            const A: &str = "crate::app \" crate::app";
            const B: &str = r##"crate::app "# crate::app"##;
            const C: (char, char, &[u8]) = ('"', '\'', b"crate::app");
            fn f<'a>(x: &'a str) { let r#crate_ = other::crate_::app; }
        "####;
        names("health/mod.rs", text, &[]);
        names("health/mod.rs", &format!("{text} use crate::clock;"), &["clock"]);
    }

    #[test]
    fn upward_sideways_and_unknown_imports_are_wrong_and_downward_ones_are_not() {
        let wrong = |file: &str, text: &str| upward_imports(&Source::new(file, text));
        assert_eq!(
            wrong("health/mod.rs", "use crate::config::Config;"),
            ["health/mod.rs: `health` must not know `config`"]
        );
        assert_eq!(wrong("net/pool.rs", "use crate::topology::Peer;"), ["net/pool.rs: `net` must not know `topology`"]);
        assert_eq!(wrong("net/pool.rs", "use crate::utils::x;"), ["net/pool.rs: `net` must not know `utils`"]);
        assert!(wrong("net/pool.rs", "use crate::{config::Config, net::x, id};").is_empty());
        assert!(wrong("main.rs", "use weir::cli;").is_empty());
    }

    #[test]
    fn a_runtime_in_a_pure_module_is_wrong() {
        assert_eq!(impure_crates(&Source::new("health/a.rs", "use tokio::time;")), ["health/a.rs: knows `tokio`"]);
        assert!(impure_crates(&Source::new("net/a.rs", "use tokio::time;")).is_empty());
        assert!(impure_crates(&Source::new("health/a.rs", "let tokio = 1; use std::time;")).is_empty());
    }

    #[test]
    fn reading_the_clock_elsewhere_is_wrong() {
        let reads = |text: &str| time_reads(&Source::new("net/a.rs", text)).len();
        assert_eq!(reads("let now = std::time::Instant::now();"), 1);
        assert_eq!(reads("let f = tokio::time::Instant::now; let now = SystemTime :: now();"), 2);
        assert_eq!(reads("start.elapsed()"), 1);
        assert_eq!(reads("clock::now() // not Instant::now()"), 0);
    }

    #[test]
    fn holding_or_publishing_a_snapshot_elsewhere_is_wrong() {
        let source = |text: &str| Source::new("proxy/a.rs", text);
        assert!(holds_the_snapshot(&source("struct A { world: Arc<ArcSwap<Topology>> }")));
        assert!(!holds_the_snapshot(&source("struct A { order: ArcSwap<Order>, world: topology::Reader }")));
        assert!(publishes(&source("self.live.publish(next, &applied, now)")));
        assert!(publishes(&source("#[cfg(test)] mod tests { fn a() {} } fn f() { live.publish(next) }")));
        assert!(publishes(&source("#[cfg(test)] mod tests; fn f() { live.publish(next) }")));
        assert!(!publishes(&source(
            "live.load() /* .publish( */; #[cfg(test)] mod tests { fn a() { live.publish(next) } }"
        )));
    }
}
