//! `weir status`: groups and peers as they are.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::ask::{self, AdminArgs, Asker, ConfigArgs};
use crate::admin::status::{GroupStatus, PeerStatus, Status};

/// What to show, and how.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// These groups alone [default: all]
    #[arg(value_name = "GROUP")]
    pub groups: Vec<String>,
    /// As JSON, in a shape that stays
    #[arg(long)]
    pub json: bool,
    /// Again every second, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Which one is asked.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where it is asked.
    #[command(flatten)]
    pub admin: AdminArgs,
}

const EVERY: Duration = Duration::from_secs(1);

/// Exits with 0 if every group has a peer that is up, 1 if one has none or weir does not answer.
pub fn run(args: StatusArgs) -> ExitCode {
    ask::block_on(async move {
        let asker = Asker::new(&args.admin, args.config.config.as_deref())?;
        loop {
            let mut status = status(&asker, "/status").await?;
            if let Some(unknown) =
                args.groups.iter().find(|name| !status.groups.iter().any(|group| group.name == **name))
            {
                return Err(format!("there is no upstream `{unknown}`"));
            }
            status.groups.retain(|group| args.groups.is_empty() || args.groups.contains(&group.name));
            let text = match args.json {
                true if args.watch => serde_json::to_string(&status).unwrap_or_default() + "\n",
                true => serde_json::to_string_pretty(&status).unwrap_or_default() + "\n",
                false => table(&status),
            };
            let clear = if args.watch && !args.json && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
            // Nobody may be reading any more, which ends a watch.
            let written = write!(anstream::stdout(), "{clear}{text}");
            if !args.watch || written.is_err() {
                let well = status.groups.iter().all(|group| group.peers.iter().any(|peer| peer.state == "up"));
                return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            tokio::time::sleep(EVERY).await;
        }
    })
}

/// Asks for it.
pub(super) async fn status(asker: &Asker, target: &str) -> Result<Status, String> {
    let answer = asker.get(target).await?.success()?;
    Status::deserialize(answer).map_err(|error| format!("{} is of another version of weir: {error}", asker.place()))
}

/// A paragraph for each group.
fn table(status: &Status) -> String {
    status.groups.iter().map(group).collect::<Vec<_>>().join("\n")
}

const COLUMNS: [&str; 10] =
    ["PEER", "ADDRESS", "STATE", "FOR", "WEIGHT", "ACTIVE", "REQUESTS", "FAILS", "PROBE", "LATENCY"];
/// Numbers stand at the right.
const RIGHT: [bool; 10] = [false, false, false, true, true, true, true, true, false, true];
const STATE: usize = 2;

fn group(group: &GroupStatus) -> String {
    let mut text = format!("{BOLD}{}{PLAIN}", group.name);
    if let Some(waiting @ 1..) = group.waiting {
        text += &format!("  {waiting} waiting for room");
    }
    text.push('\n');
    let rows: Vec<[String; 10]> = group.peers.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([COLUMNS[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |cells: &[String; 10], colour: &str| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) = if RIGHT[column] { (pad, String::new()) } else { (String::new(), pad) };
            let (on, off) = if column == STATE && !colour.is_empty() { (colour, PLAIN) } else { ("", "") };
            format!("{before}{on}{cell}{off}{after}")
        });
        let joined = padded.collect::<Vec<_>>().join("  ");
        format!("  {}\n", joined.trim_end())
    };
    if !rows.is_empty() {
        text += &line(&COLUMNS.map(str::to_owned), "");
    }
    for (peer, row) in group.peers.iter().zip(&rows) {
        text += &line(row, colour(&peer.state));
        text += &notes(peer);
    }
    for name in &group.unresolved {
        text += &format!("  {name}  {RED}has no address{PLAIN}\n");
    }
    text
}

fn row(peer: &PeerStatus) -> [String; 10] {
    let probe = match peer.last_probe_passed {
        Some(true) => "passed",
        Some(false) => "failed",
        None => "-",
    };
    let conns =
        if peer.max_conns > 0 { format!("{}/{}", peer.active, peer.max_conns) } else { peer.active.to_string() };
    let latency = peer.header_time_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
    [
        format!("{}{}", clean(peer.replica.as_ref().unwrap_or(&peer.name)), if peer.backup { " (backup)" } else { "" }),
        peer.address.clone(),
        peer.state.clone(),
        ago(peer.since_ms),
        match peer.ramp_percent {
            Some(percent) => format!("{} ({percent}%)", peer.weight),
            None => peer.weight.to_string(),
        },
        conns,
        peer.requests.to_string(),
        peer.fails.to_string(),
        probe.to_owned(),
        latency,
    ]
}

/// Why it is not simply up, and what operators want of it.
fn notes(peer: &PeerStatus) -> String {
    let mut notes = String::new();
    if peer.state != "up" || peer.reason.starts_with("kept") {
        notes += &format!("      {}\n", clean(&peer.reason));
    }
    for over in &peer.overrides {
        let left = over.left_ms.map_or("until it is lifted".to_owned(), |left| format!("for another {}", ago(left)));
        let reason = over.reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
        let (what, by, since) = (&over.what, clean(&over.by), ago(over.since_ms));
        notes += &format!("      {YELLOW}{what}{PLAIN} by {by}, since {since}, {left}{reason}\n");
    }
    notes
}

/// What others wrote must not move the cursor of whoever reads it.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

// anstream drops these where there is no terminal, or NO_COLOR is set.
const PLAIN: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";

fn colour(state: &str) -> &'static str {
    match state {
        "up" => GREEN,
        "draining" | "checking" | "down" => YELLOW,
        _ => RED,
    }
}

/// `850ms`, `12s`, `4m`, `3h`, `5d`: two digits are enough to read.
pub(super) fn ago(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms}ms"),
        s @ 1..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::OverrideStatus;

    fn peer(name: &str, state: &str) -> PeerStatus {
        PeerStatus {
            id: 1,
            name: name.into(),
            replica: None,
            address: "10.0.0.1:5000".into(),
            backup: false,
            state: state.into(),
            reason: "connection refused".into(),
            since_ms: 125_000,
            weight: 1,
            ramp_percent: None,
            active: 2,
            max_conns: 0,
            requests: 1_234,
            fails: 3,
            last_probe_passed: Some(true),
            header_time_ms: Some(3.25),
            response_time_ms: Some(4.0),
            overrides: Vec::new(),
        }
    }

    #[test]
    fn a_table_says_of_each_peer_how_it_is_and_why() {
        let over = OverrideStatus {
            what: "drain".into(),
            by: "ann@host".into(),
            reason: Some("deploy\x1b[2J".into()),
            since_ms: 5_000,
            left_ms: Some(595_000),
        };
        let group = GroupStatus {
            name: "web".into(),
            waiting: Some(0),
            peers: vec![
                peer("app1:5000", "up"),
                PeerStatus { overrides: vec![over], last_probe_passed: None, ..peer("application2:5000", "draining") },
            ],
            unresolved: vec!["lost:5000".into()],
        };
        let status = Status { version: "0".into(), pid: 1, groups: vec![group] };
        let text = anstream::adapter::strip_str(&table(&status)).to_string();
        assert_eq!(
            text,
            "web
  PEER               ADDRESS        STATE     FOR  WEIGHT  ACTIVE  REQUESTS  FAILS  PROBE   LATENCY
  app1:5000          10.0.0.1:5000  up         2m       1       2      1234      3  passed   3.2 ms
  application2:5000  10.0.0.1:5000  draining   2m       1       2      1234      3  -        3.2 ms
      connection refused
      drain by ann@host, since 5s, for another 9m: deploy?[2J
  lost:5000  has no address
"
        );
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in
            [(0, "0ms"), (999, "999ms"), (119_999, "119s"), (120_000, "2m"), (7_200_000, "2h"), (172_800_000, "2d")]
        {
            assert_eq!(ago(ms), text);
        }
    }
}
