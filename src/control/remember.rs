//! What operators have changed, as it is kept in the state file: with the calendar's time, for another process has
//! another clock.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{Moment, Timestamp};
use crate::config::server_from;
use crate::health::Operator;
use crate::topology::{Added, Adjustment, Adjustments, Kind, Override, Setting, Subject};

/// The name of the section.
pub const SECTION: &str = "adjustments";

#[derive(Serialize, Deserialize)]
struct Kept {
    overrides: Vec<KeptOverride>,
    added: Vec<KeptServer>,
}

#[derive(Serialize, Deserialize)]
struct KeptOverride {
    group: String,
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<std::net::SocketAddr>,
    what: String,
    is: String,
    file: String,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    since: u64,
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptServer {
    group: String,
    /// An entry of `servers`.
    server: toml::Table,
    since: u64,
    by: String,
}

/// Milliseconds since 1970.
fn calendar(moment: Moment, at: Timestamp) -> u64 {
    let since = moment.calendar(at).duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Of milliseconds since 1970; what no calendar has is now.
fn timestamp(moment: Moment, millis: u64) -> Timestamp {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(moment.wall);
    moment.timestamp(at)
}

/// The adjustments as a section.
pub fn written(adjustments: &Adjustments, moment: Moment) -> Value {
    let kept = Kept {
        overrides: adjustments.overrides.iter().map(|over| keep(over, moment)).collect(),
        added: adjustments
            .added
            .iter()
            .map(|added| KeptServer {
                group: added.group.to_string(),
                server: added.written.clone(),
                since: calendar(moment, added.since),
                by: added.by.to_string(),
            })
            .collect(),
    };
    // Plain texts and numbers, which JSON can say.
    serde_json::to_value(kept).unwrap_or_default()
}

/// The steps that make them again; those that make no sense are left out, and said.
pub fn read(section: &Value, moment: Moment) -> (Vec<Adjustment>, Vec<String>) {
    let kept: Kept = match Kept::deserialize(section) {
        Ok(kept) => kept,
        Err(error) => return (Vec::new(), vec![format!("the section `{SECTION}` of the state file: {error}")]),
    };
    let mut said = Vec::new();
    let mut steps = Vec::new();
    for KeptServer { group, server: written, since, by } in kept.added {
        match server_from(&written) {
            Ok(server) => steps.push(Adjustment::Add(Added {
                group: group.into(),
                server,
                written,
                since: timestamp(moment, since),
                by: by.into(),
            })),
            Err(why) => said.push(format!("state file: a server of {group}: {why}")),
        }
    }
    for over in kept.overrides {
        let name = format!("{}/{}", over.group, over.server);
        match restore(over, moment) {
            Some(over) => steps.push(Adjustment::Set(over)),
            None => said.push(format!("state file: an override of {name} makes no sense")),
        }
    }
    (steps, said)
}

fn keep(over: &Override, moment: Moment) -> KeptOverride {
    let Override { target, setting, file, until, since, by, reason } = over;
    KeptOverride {
        group: target.group.to_string(),
        server: target.server.to_string(),
        addr: target.addr,
        what: kind_name(setting.kind()).to_owned(),
        is: value(*setting),
        file: value(*file),
        until: until.map(|until| calendar(moment, until)),
        since: calendar(moment, *since),
        by: by.to_string(),
        reason: reason.as_deref().map(str::to_owned),
    }
}

fn restore(kept: KeptOverride, moment: Moment) -> Option<Override> {
    Some(Override {
        setting: setting(&kept.what, &kept.is)?,
        file: setting(&kept.what, &kept.file)?,
        until: kept.until.map(|until| timestamp(moment, until)),
        since: timestamp(moment, kept.since),
        target: Subject { group: kept.group.into(), server: kept.server.into(), addr: kept.addr },
        by: kept.by.into(),
        reason: kept.reason.map(Into::into),
    })
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Use => "use",
        Kind::Weight => "weight",
        Kind::MaxConns => "max_conns",
        Kind::MaxFails => "max_fails",
        Kind::FailTimeout => "fail_timeout",
        Kind::SlowStart => "slow_start",
    }
}

/// Numbers as they are, times in milliseconds.
fn value(setting: Setting) -> String {
    match setting {
        Setting::Use(Operator::Enabled) => "up".to_owned(),
        Setting::Use(Operator::Drain) => "drain".to_owned(),
        Setting::Use(Operator::Down) => "down".to_owned(),
        Setting::Weight(number) | Setting::MaxConns(number) | Setting::MaxFails(number) => number.to_string(),
        Setting::FailTimeout(time) | Setting::SlowStart(time) => time.as_millis().to_string(),
    }
}

fn setting(kind: &str, value: &str) -> Option<Setting> {
    let number = || value.parse::<u32>().ok();
    let time = || value.parse().ok().map(Duration::from_millis);
    Some(match kind {
        "use" => Setting::Use(match value {
            "up" => Operator::Enabled,
            "drain" => Operator::Drain,
            "down" => Operator::Down,
            _ => return None,
        }),
        "weight" => Setting::Weight(number().filter(|weight| *weight > 0)?),
        "max_conns" => Setting::MaxConns(number()?),
        "max_fails" => Setting::MaxFails(number()?),
        "fail_timeout" => Setting::FailTimeout(time()?),
        "slow_start" => Setting::SlowStart(time()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn over(setting: Setting, file: Setting, until: Option<Timestamp>) -> Override {
        let target = Subject { group: "web".into(), server: "app:5000".into(), addr: None };
        let since = Timestamp::secs(90);
        Override { target, setting, file, until, since, by: "ann@host".into(), reason: Some("deploy".into()) }
    }

    #[test]
    fn what_is_written_is_read_by_another_process_with_another_clock() {
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let drain = (Setting::Use(Operator::Drain), Setting::Use(Operator::Enabled));
        let written_table: toml::Table = "address = \"10.0.0.9:80\"\nweight = 3".parse().expect("TOML");
        let adjustments = Adjustments {
            overrides: vec![
                over(drain.0, drain.1, Some(Timestamp::secs(160))),
                over(Setting::Weight(5), Setting::Weight(1), None),
                over(Setting::FailTimeout(HOUR), Setting::FailTimeout(Duration::ZERO), None),
            ],
            added: vec![Added {
                group: "web".into(),
                server: server_from(&written_table).expect("a server"),
                written: written_table,
                since: Timestamp::secs(95),
                by: "ann@host".into(),
            }],
        };
        let section = written(&adjustments, Moment { now: Timestamp::secs(100), wall });
        // A minute later, ten hours into the life of another process.
        let later = Moment { now: Timestamp::secs(36_000), wall: wall + Duration::from_secs(60) };
        let (steps, said) = read(&section, later);
        assert_eq!(said, Vec::<String>::new());
        let shift = |over: &Override| Override {
            since: Timestamp::secs(35_930),
            until: over.until.map(|_| later.now),
            ..over.clone()
        };
        let mut expected =
            vec![Adjustment::Add(Added { since: Timestamp::secs(35_935), ..adjustments.added[0].clone() })];
        expected.extend(adjustments.overrides.iter().map(|over| Adjustment::Set(shift(over))));
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_said() {
        let moment = Moment { now: Timestamp::secs(100), wall: UNIX_EPOCH + HOUR };
        let section = serde_json::json!({
            "overrides": [
                {"group": "g", "server": "a", "what": "weight", "is": "0", "file": "1", "since": 0, "by": "x"},
                {"group": "g", "server": "a", "what": "colour", "is": "1", "file": "1", "since": 0, "by": "x"},
                {"group": "g", "server": "a", "what": "max_conns", "is": "3", "file": "0", "since": 0, "by": "x"},
            ],
            "added": [{"group": "g", "server": {"address": "a", "weight": 0}, "since": 0, "by": "x"}],
        });
        let (steps, said) = read(&section, moment);
        assert_eq!((steps.len(), said.len()), (1, 3), "{said:?}");
        assert_eq!(read(&serde_json::json!([1]), moment).0, Vec::new());
    }
}
