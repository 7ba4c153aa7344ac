//! Does the machine do what the table of `docs/health.md` says? Each of its rows is a test, named as the claim.
//!
//! A test is a script of what happens to a group, in the notation of [`script`], and what must hold afterwards.

mod operator_rows;
mod outlier_rows;
mod probe_rows;
mod properties;
mod ramp_rows;
mod reload_rows;
mod script;
mod threads;
mod traffic_rows;

#[test]
fn the_log_lines_that_users_are_shown_are_the_real_ones() {
    use script::{CHECKED, Group, PLAIN, after};
    let mut real = after("P N N N P P drain", CHECKED).log();
    real.extend(after("hard +10s trial=ok", PLAIN).log());
    real.extend(after("slow", PLAIN).log());
    real.extend(Group::of(2, PLAIN).then("b:soft a:soft").log());
    let page = include_str!("../../../docs/health.md");
    let shown = page.rsplit("```").nth(1).expect("a block of log lines");
    for line in shown.trim().lines() {
        assert!(real.iter().any(|l| l == line), "never logged: {line}");
    }
}
