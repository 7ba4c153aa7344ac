//! How is every setting documented? The tables of `docs/configuration.md`, from the directive table.

use std::fmt::Write;

use super::directives::{Directive, Fallback, Kind, Place};
use super::template::{LOG_VARIABLES, REQUEST_VARIABLES};
use super::units::TimeUnit;

/// One table of settings per place, in Markdown. Settings with several places stand once, in the first.
pub fn settings() -> String {
    let mut text = String::new();
    for place in Place::ALL {
        let (own, shared): (Vec<_>, Vec<_>) = Directive::of(place)
            .filter(|directive| directive.places[0] == place)
            .partition(|directive| directive.places.len() == 1);
        section(&mut text, title(place), &own);
        for places in [4, 3, 2] {
            let shared: Vec<_> = shared.iter().copied().filter(|directive| directive.places.len() == places).collect();
            let title = match places {
                4 => "At the top, in `[[server]]`, in `[[server.location]]` and in `[[stream]]`: towards backends",
                3 => "At the top, in `[[server]]` and in `[[server.location]]`: towards backends",
                _ if place == Place::Server => "In `[[server]]` and in `[[server.location]]`",
                _ => "At the top and in `[[server]]`: towards clients",
            };
            section(&mut text, title, &shared);
        }
    }
    text
}

/// The variables of requests and of the access log, in Markdown.
pub fn variables() -> String {
    let list =
        |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("`${name}`")).collect::<Vec<_>>().join(", ");
    let of_requests = list(&mut REQUEST_VARIABLES.iter().map(|(name, _)| *name));
    let of_logs = list(&mut LOG_VARIABLES.iter().map(|(name, _)| *name));
    format!(
        "- Everywhere: {of_requests}, and `$http_NAME` (a field, `-` written `_`), `$arg_NAME`, `$cookie_NAME`.\n\
         - When a peer has answered (`add_header`, `log_format`, `create` of `sticky`): `$upstream_http_NAME` (a field of its \
         answer), `$upstream_cookie_NAME` (a cookie that it sets).\n\
         - In `log_format` alone: {of_logs}.\n"
    )
}

fn section(text: &mut String, title: &str, directives: &[&Directive]) {
    if directives.is_empty() {
        return;
    }
    let mut table = format!("### {title}\n\n| setting | takes | default | |\n| --- | --- | --- | --- |\n");
    for directive in directives {
        let (key, takes) = (directive.key, takes(directive.kind).replace('|', "\\|"));
        let default = match directive.default {
            Fallback::Is(value) => format!("`{value}`"),
            Fallback::Unset(meaning) => meaning.replace('|', "\\|"),
            Fallback::Required => "must be written".to_owned(),
        };
        let doc = directive.doc.replace('|', "\\|");
        // Writing into a String cannot fail.
        let _ = writeln!(table, "| `{key}` | {takes} | {default} | {doc} |");
    }
    text.push_str(&table);
    text.push('\n');
}

fn title(place: Place) -> &'static str {
    match place {
        Place::Top => "At the top",
        Place::Upstream => "`[upstream.NAME]`",
        Place::Peer => "An entry of `servers`",
        Place::Queue => "`queue`",
        Place::RetryBudget => "`retry_budget`",
        Place::Outliers => "`outliers`",
        Place::UpstreamTls => "`[upstream.NAME.tls]`",
        Place::Sticky => "`sticky`",
        Place::Learn => "`learn` of `sticky`",
        Place::Consul => "`consul`",
        Place::HealthCheck => "`[upstream.NAME.health_check]`",
        Place::Match => "`[upstream.NAME.health_check.match]`",
        Place::Server => "`[[server]]`",
        Place::Listen => "An entry of `listen`",
        Place::ListenTls => "`tls` of an entry of `listen`",
        Place::Hsts => "`hsts` as a table",
        Place::Location => "`[[server.location]]`",
        Place::Path => "`path` as a table",
        Place::Return => "`return` as a table",
        Place::Stream => "`[[stream]]`",
        Place::Split => "An entry of `split`",
        Place::Mirror => "`mirror`",
        Place::LimitReqZone => "`[limit_req_zone.NAME]`",
        Place::LimitReq => "`limit_req`",
        Place::LimitConnZone => "`[limit_conn_zone.NAME]`",
        Place::LimitConn => "`limit_conn`",
        Place::Admin => "`[admin]`",
    }
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Switch => "`true`, `false`".to_owned(),
        Kind::Number(min, max) if max >= 1_000_000 => format!("a number, {min} or more"),
        Kind::Number(min, max) => format!("a number, {min} to {max}"),
        Kind::Size(..) => "a size".to_owned(),
        Kind::Time(TimeUnit::Seconds, _) => "a time in seconds".to_owned(),
        Kind::Time(TimeUnit::Milliseconds, _) => "a time".to_owned(),
        Kind::Percent => "a percentage".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Kind::Text => "text".to_owned(),
        Kind::Own(grammar) => grammar.to_owned(),
    }
}
