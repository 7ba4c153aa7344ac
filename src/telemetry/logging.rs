//! What does weir say about itself? The program log, on stderr.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::calendar::Civil;
use crate::clock::wall;

/// How the program log looks, and how much it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// tracing's directives: `info`, `warn,weir::health=debug`.
    pub filter: String,
    /// One JSON object per line instead of a line for people.
    pub json: bool,
    /// Colours, and the time of day alone.
    pub terminal: bool,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `WEIR_LOG` is not understood.
    #[error(
        "WEIR_LOG: `{filter}` is not a level (error, warn, info, debug, trace) or a list like `info,weir::health=debug,json`"
    )]
    Filter {
        /// As it was given.
        filter: String,
    },
    /// Somebody else began.
    #[error("logging has already begun")]
    Twice,
}

impl Logging {
    /// Reads `WEIR_LOG` (a level or tracing's directives, and the word `json`; unset: `info`), `NO_COLOR` and `TERM`.
    pub fn from_env(var: impl Fn(&str) -> Option<String>, stderr_is_terminal: bool) -> Logging {
        let words = var("WEIR_LOG").unwrap_or_default();
        let (json, directives): (Vec<&str>, Vec<&str>) =
            words.split(',').map(str::trim).filter(|word| !word.is_empty()).partition(|word| *word == "json");
        let plain = var("NO_COLOR").is_some_and(|value| !value.is_empty()) || var("TERM").as_deref() == Some("dumb");
        Logging {
            filter: if directives.is_empty() { "info".to_owned() } else { directives.join(",") },
            json: !json.is_empty(),
            terminal: stderr_is_terminal && !plain,
        }
    }

    /// Begins; once in a process.
    pub fn init(&self) -> Result<(), LoggingError> {
        let wrong = |_| LoggingError::Filter { filter: self.filter.clone() };
        let filter = EnvFilter::builder().parse(&self.filter).map_err(wrong)?;
        let filter = match quieted(&self.filter) {
            Some(directive) => filter.add_directive(directive),
            None => filter,
        };
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let begun = if self.json {
            builder.json().flatten_event(true).with_timer(Iso8601).with_current_span(false).try_init()
        } else {
            builder.event_format(Line { terminal: self.terminal }).try_init()
        };
        begun.map_err(|_| LoggingError::Twice)
    }
}

/// What keeps the library for HTTP/2 from writing a line for each frame that it finds strange, which clients could send
/// by the thousand. `None`: the filter says itself how much of it is wanted.
fn quieted(filter: &str) -> Option<Directive> {
    let named = filter.split(',').any(|directive| directive.split(['=', ':', '[']).next() == Some("h2"));
    if named { None } else { "h2=error".parse().ok() }
}

/// `2026-11-22T16:04:05.123Z`.
struct Iso8601;

impl FormatTime for Iso8601 {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let civil = Civil::of(wall());
        write!(out, "{}.{:03}Z", civil.iso8601(), civil.millis)
    }
}

/// `2026-11-22T16:04:05.123Z info  web-alb: app2 up → unhealthy: …`, and the fields as `name=value` at its end.
struct Line {
    terminal: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (name, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", 31),
            Level::WARN => ("warn ", 33),
            Level::INFO => ("info ", 32),
            Level::DEBUG => ("debug", 34),
            Level::TRACE => ("trace", 35),
        };
        if self.terminal {
            let Civil { hour, minute, second, .. } = Civil::of(wall());
            write!(out, "\x1b[2m{hour:02}:{minute:02}:{second:02}\x1b[0m \x1b[{colour}m{name}\x1b[0m ")?;
        } else {
            Iso8601.format_time(&mut out)?;
            write!(out, " {name} ")?;
        }
        let mut words = Words::default();
        event.record(&mut words);
        writeln!(out, "{}{}", words.message, words.fields)
    }
}

/// An event's message and fields. Control characters are escaped: what a client sent must not look like a line of ours.
#[derive(Debug, Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            push_printable(&mut self.message, &text);
        } else {
            // Writing to a String does not fail.
            let _ = write!(self.fields, " {}=", field.name());
            push_printable(&mut self.fields, &text);
        }
    }
}

fn push_printable(out: &mut String, text: &str) {
    for char in text.chars() {
        if char.is_control() { out.extend(char.escape_default()) } else { out.push(char) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Logging {
        let vars: Vec<(String, String)> = vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Logging::from_env(|name| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()), true)
    }

    #[test]
    fn the_environment_says_how_much_and_how() {
        let logging = |filter: &str, json, terminal| Logging { filter: filter.to_owned(), json, terminal };
        assert_eq!(from(&[]), logging("info", false, true));
        assert_eq!(from(&[("WEIR_LOG", "debug")]), logging("debug", false, true));
        assert_eq!(from(&[("WEIR_LOG", "json")]), logging("info", true, true));
        assert_eq!(
            from(&[("WEIR_LOG", "warn, weir::health=debug ,json")]),
            logging("warn,weir::health=debug", true, true)
        );
        assert_eq!(from(&[("NO_COLOR", "1")]), logging("info", false, false));
        assert_eq!(from(&[("NO_COLOR", "")]), logging("info", false, true));
        assert_eq!(from(&[("TERM", "dumb")]), logging("info", false, false));
    }

    #[test]
    fn a_filter_that_is_not_understood_is_an_error() {
        let logging = Logging { filter: "weir=loud".to_owned(), json: false, terminal: false };
        let error = logging.init().expect_err("`loud` is no level");
        assert!(error.to_string().contains("`weir=loud`"), "{error}");
    }

    #[test]
    fn the_library_for_http2_is_quiet_unless_it_is_named() {
        for filter in ["info", "debug", "warn,weir::health=debug", "hh2=debug"] {
            assert_eq!(quieted(filter).map(|directive| directive.to_string()), Some("h2=error".into()), "{filter}");
        }
        for filter in ["h2=debug", "info,h2::codec=trace", "debug,h2"] {
            assert!(quieted(filter).is_none(), "{filter}");
        }
    }

    #[test]
    fn nobody_forges_a_line() {
        let mut out = String::new();
        push_printable(&mut out, "GET /\r\n2026 error \x1b[31m é");
        assert_eq!(out, "GET /\\r\\n2026 error \\u{1b}[31m é");
    }
}
