//! To whom does a share of a location's requests go? `split` and `mirror`.

use super::fields::{template, unfit};
use super::section::{Section, Settings};
use super::setting::{plain, refuse_kind, text_of};
use super::upstream::Upstreams;
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::model::{Mirror, Share, Split};
use crate::config::suggest::closest;
use crate::config::template::Use;
use crate::config::written::{Node, Sink, Value};
use crate::shape::WHOLE;

const SPLIT: &str = "`split` takes a list: `[{ upstream = \"web-v2\", percent = 5 }]`";

/// Reads `split` and `split_key`, if they are written here. `main` is where `proxy_pass` leads.
pub(super) fn split(section: &Section<'_>, main: Option<usize>, upstreams: &mut Upstreams) -> Option<Split> {
    let sink = section.sink;
    let key = section.node("split_key").and_then(|node| {
        let text = text_of(node, "`split_key` takes a template: `\"$remote_addr\"`", sink)?;
        template(text, "split_key", Use::Request, sink)
    });
    let Some(node) = section.node("split") else {
        if let Some(place) = section.key_span("split_key") {
            let mistake = Diagnostic::error("`split_key` has no meaning without `split`").at(place);
            sink.report(mistake.help("write `split = [{ upstream = \"web-v2\", percent = 5 }]`, or remove it"));
        }
        return None;
    };
    let Value::List(nodes) = &node.value else {
        refuse_kind(node, SPLIT, sink);
        return None;
    };
    let mut shares = Vec::new();
    for node in nodes {
        match &node.value {
            Value::Table(table) => {
                let section = Section::read(Place::Split, table, sink);
                section.required("percent", "percent = 5");
                shares.extend(share(&section, main, upstreams));
            }
            _ => refuse_kind(node, SPLIT, sink),
        }
    }
    if shares.iter().map(|share| u64::from(share.share)).sum::<u64>() > u64::from(WHOLE) {
        let mistake = Diagnostic::error("these shares are more than 100 percent").at(node.span.clone());
        sink.report(mistake.help("what is left over goes to `proxy_pass`"));
    }
    (key.is_some() || !shares.is_empty()).then_some(Split { key, shares })
}

/// Reads `mirror`, if it is written here.
pub(super) fn mirror(section: &Section<'_>, main: Option<usize>, upstreams: &mut Upstreams) -> Option<Mirror> {
    let section = Section::read(Place::Mirror, section.table("mirror")?, section.sink);
    let max = usize::try_from(section.number("max")).unwrap_or(usize::MAX);
    Some(Mirror { share: share(&section, main, upstreams)?, max, timeout: section.time("timeout") })
}

fn share(section: &Section<'_>, main: Option<usize>, upstreams: &mut Upstreams) -> Option<Share> {
    let node = section.required("upstream", "upstream = \"web-v2\"");
    let share = match section.node("percent") {
        Some(node) => percent(node, section.sink),
        None => Some(WHOLE),
    };
    let (Value::Text(text), Some(name)) = (&node?.value, section.text("upstream")) else { return None };
    let why = match upstreams.find_share(&name, main, section.sink) {
        Ok(Some(upstream)) => return Some(Share { upstream, name: name.into(), share: share? }),
        Ok(None) => {
            let why = Unfit::because(format!("there is no upstream `{name}`"));
            match closest(&name, upstreams.names()) {
                Some(known) => why.help(format!("did you mean `\"{known}\"`?")),
                None => why.help(format!("write [upstream.{name}] with its servers")),
            }
        }
        Err(why) => why,
    };
    section.sink.report(unfit(text, "`upstream` takes the name of an upstream".to_owned(), why));
    None
}

/// Hundredths of a percent.
fn percent(node: &Node, sink: &Sink) -> Option<u32> {
    let message = "`percent` takes a number from 0 to 100, or text: `5`, `\"0.5%\"`";
    match &node.value {
        Value::Integer(Some(number @ 0..=100)) => return u32::try_from(number * 100).ok(),
        Value::Text(text) => match plain(text, "percent") {
            Ok(plain) => match hundredths(&plain) {
                Ok(share) => return Some(share),
                Err(why) => sink.report(unfit(text, message.to_owned(), Unfit::because(why))),
            },
            Err(mistake) => sink.report(*mistake),
        },
        Value::Integer(_) => sink.report(Diagnostic::error(message).at(node.span.clone())),
        Value::Float => {
            let mistake = Diagnostic::error(message).at(node.span.clone()).label("this is a fraction");
            sink.report(mistake.help("write it in quotes: `\"0.5%\"`"));
        }
        _ => refuse_kind(node, message, sink),
    }
    None
}

/// nginx's grammar: a number with up to two decimals, and `%`.
fn hundredths(text: &str) -> Result<u32, &'static str> {
    let (whole, decimals) = text.trim_end_matches('%').split_once('.').unwrap_or((text.trim_end_matches('%'), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return Err("this is no percentage");
    }
    if decimals.len() > 2 {
        return Err("at most two decimals");
    }
    let number = |text: &str| text.parse::<u32>().map_err(|_| "more than 100");
    let tenths = if decimals.len() == 1 { 10 } else { 1 };
    let share = number(whole)?.saturating_mul(100).saturating_add(number(decimals)? * tenths);
    if share > WHOLE { Err("more than 100") } else { Ok(share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_up_to_two_decimals() {
        for (text, share) in [
            ("5", Ok(500)),
            ("5%", Ok(500)),
            ("0.5%", Ok(50)),
            ("0.05%", Ok(5)),
            ("12.34%", Ok(1_234)),
            ("100%", Ok(10_000)),
            ("100.00%", Ok(10_000)),
            ("0%", Ok(0)),
            ("100.01%", Err("more than 100")),
            ("99999999999%", Err("more than 100")),
            ("0.005%", Err("at most two decimals")),
            ("", Err("this is no percentage")),
            ("%", Err("this is no percentage")),
            ("-1%", Err("this is no percentage")),
            ("1.%", Err("this is no percentage")),
            ("five", Err("this is no percentage")),
        ] {
            assert_eq!(hundredths(text), share, "{text}");
        }
    }
}
