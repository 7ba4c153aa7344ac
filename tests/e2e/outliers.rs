//! Does a peer that is worse than its peers leave, and come back?

use std::time::Duration;

use crate::support::{Backend, Script, Site, Weir, eventually, sorted};

/// Short intervals, and one failure alone means nothing.
fn site<const N: usize>(backends: [&Backend; N], rule: &str) -> Site {
    let entry =
        |backend: &Backend| format!("{{ address = \"{}\", max_fails = 0, fail_timeout = \"1s\" }}", backend.address());
    Site::servers(backends.map(entry)).upstream(&format!("outliers = {{ min_requests = 5, {rule} }}"))
}

/// Sends requests until the log says so, and returns the line.
fn ask_until(weir: &Weir, since: usize, said: &str) -> String {
    let said = |line: &String| line.contains(said);
    eventually("the log says it", || {
        weir.get("/");
        weir.log().iter().skip(since).any(said)
    });
    weir.log().into_iter().skip(since).find(said).unwrap_or_default()
}

#[test]
fn a_peer_that_alone_answers_500_is_taken_out_and_comes_back() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::start);
    let weir = site([&a, &b, &c], "interval = \"300ms\", latency_factor = 0").start();
    b.usually(Script::status(500));
    let line = ask_until(&weir, 0, "→ unavail");
    assert!(line.contains(&b.address().to_string()), "{line}");
    assert!(line.contains("an outlier: ") && line.contains("requests failed, where 0% is the median"), "{line}");

    let mark = weir.mark();
    b.usually(Script::text("b"));
    let line = ask_until(&weir, mark, "unavail → up");
    assert!(line.contains("a trial request succeeded"), "{line}");
    assert_eq!(sorted(&weir.rotation(6)), "aabbcc");
}

#[test]
fn a_peer_that_takes_a_multiple_of_its_peers_time_is_taken_out() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::start);
    let weir = site([&a, &b, &c], "interval = \"1s\", failure_share = \"0%\"").start();
    c.usually(Script::new().read_body().pause(Duration::from_millis(80)).answer(200, "", "c"));
    let line = ask_until(&weir, 0, "→ unavail");
    assert!(line.contains(&c.address().to_string()), "{line}");
    assert!(line.contains("an outlier: answers took"), "{line}");
    // Still slow after its trial, it is left alone for longer.
    let line = ask_until(&weir, weir.mark(), "left alone for 2s");
    assert!(line.contains(&c.address().to_string()), "{line}");
}

#[test]
fn a_reload_turns_it_on() {
    let [a, b] = ["a", "b"].map(Backend::start);
    b.usually(Script::status(500));
    let with = site([&a, &b], "interval = \"300ms\"").toml();
    let without: String =
        with.lines().filter(|line| !line.starts_with("outliers")).map(|line| format!("{line}\n")).collect();
    let weir = Weir::start(&without);
    weir.rotation(12);
    assert!(!weir.log().iter().any(|line| line.contains("unavail")));
    let mark = weir.mark();
    weir.edit(&with);
    let line = ask_until(&weir, mark, "→ unavail");
    assert!(line.contains("an outlier"), "{line}");
}
