//! How long, how much? nginx's grammar of times and sizes (`ngx_parse.c`, spec §0).

use std::time::Duration;

/// Which of nginx's two kinds of time a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Whole seconds: `y M w d h m s`, no `ms` (`fail_timeout`, `slow_start`, …).
    Seconds,
    /// Milliseconds: `w d h m s ms`, no `y` and no `M` (all `proxy_*` and `keepalive_*` times, …).
    Milliseconds,
}

/// The largest time in seconds: ten years, which no timer of weir overflows.
const MAX_SECONDS: u64 = 10 * 365 * 86_400;

/// The largest size in bytes: 1 TiB.
const MAX_SIZE: u64 = 1 << 40;

/// Units from the longest to the shortest, in milliseconds. A month is 30 days, a year 365.
const TIME_UNITS: [(&str, u64); 8] = [
    ("y", 365 * 86_400_000),
    ("M", 30 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A time: `30s`, `1m30s`, `1h 3m`, `500ms`; without a unit, seconds. `Err` says what is wrong with it.
pub fn time(text: &str, unit: TimeUnit) -> Result<Duration, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut rest = text.trim();
    let (mut total, mut next_unit) = (0_u64, 0);
    while !rest.is_empty() {
        let (number, behind) = leading_number(rest)?;
        let length = behind.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(length);
        let position = match name {
            "" if behind.trim().is_empty() => 6,
            "" => return Err(format!("`{number}` has no unit")),
            _ => TIME_UNITS.iter().position(|(known, _)| *known == name).ok_or_else(|| unknown_time_unit(name))?,
        };
        match (unit, name) {
            (TimeUnit::Seconds, "ms") => return Err("it is measured in whole seconds, so `ms` is too fine".to_owned()),
            (TimeUnit::Milliseconds, "y" | "M") => return Err(format!("`{name}` is too long a unit here")),
            _ if position < next_unit => {
                return Err("units must go from the longest to the shortest, each once".to_owned());
            }
            _ => next_unit = position + 1,
        }
        total = number
            .checked_mul(TIME_UNITS[position].1)
            .and_then(|milliseconds| total.checked_add(milliseconds))
            .filter(|total| *total <= MAX_SECONDS * 1_000)
            .ok_or("it is longer than ten years")?;
        rest = behind.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// A size in bytes: `64k`, `1m`, `2g`; without a unit, bytes. `Err` says what is wrong with it.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let (number, unit) = leading_number(text)?;
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return Err(format!("`{unit}` is not a unit: bytes have none, then `k`, `m`, `g`")),
    };
    number.checked_mul(factor).filter(|size| *size <= MAX_SIZE).ok_or_else(|| "it is larger than 1024g".to_owned())
}

fn leading_number(text: &str) -> Result<(u64, &str), String> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    if rest.starts_with('.') && !digits.is_empty() {
        return Err("fractions are not allowed: use a smaller unit".to_owned());
    }
    if digits.is_empty() {
        return Err(match rest.strip_prefix('-') {
            Some(_) => "it is negative".to_owned(),
            None => format!("expected a number at `{rest}`"),
        });
    }
    let number = digits.parse().map_err(|_| "the number is too large".to_owned())?;
    Ok((number, rest))
}

fn unknown_time_unit(name: &str) -> String {
    let meant = match name {
        "sec" | "secs" | "second" | "seconds" | "S" => ": a second is `s`",
        "min" | "mins" | "minute" | "minutes" => ": a minute is `m`",
        "hour" | "hours" | "hr" | "H" => ": an hour is `h`",
        "day" | "days" | "D" => ": a day is `d`",
        "MS" | "Ms" | "msec" | "millis" => ": a millisecond is `ms`",
        _ => "",
    };
    format!("`{name}` is not a unit of time{meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nginx_reads_them() {
        let table = [
            ("10s", 10_000),
            ("10", 10_000),
            ("0", 0),
            ("1m30s", 90_000),
            ("1h 3m", 3_780_000),
            ("500ms", 500),
            ("1s 500ms", 1_500),
            ("1w", 604_800_000),
            ("2d", 172_800_000),
            ("1m30", 90_000),
            (" 5s ", 5_000),
        ];
        for (text, milliseconds) in table {
            assert_eq!(time(text, TimeUnit::Milliseconds), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, seconds) in [("1y", 31_536_000), ("1M", 2_592_000), ("1M 1m", 2_592_060)] {
            assert_eq!(time(text, TimeUnit::Seconds), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_reason() {
        use TimeUnit::*;
        let table = [
            ("", Milliseconds, "it is empty"),
            ("s", Milliseconds, "expected a number at `s`"),
            ("30s1m", Milliseconds, "units must go from the longest to the shortest, each once"),
            ("1s1s", Milliseconds, "units must go from the longest to the shortest, each once"),
            ("1.5s", Milliseconds, "fractions are not allowed: use a smaller unit"),
            ("-5s", Milliseconds, "it is negative"),
            ("5sec", Milliseconds, "`sec` is not a unit of time: a second is `s`"),
            ("1 2", Milliseconds, "`1` has no unit"),
            ("1y", Milliseconds, "`y` is too long a unit here"),
            ("500ms", Seconds, "it is measured in whole seconds, so `ms` is too fine"),
            ("11y", Seconds, "it is longer than ten years"),
            ("99999999999999999999s", Seconds, "the number is too large"),
            ("18446744073709551615w", Milliseconds, "it is longer than ten years"),
        ];
        for (text, unit, reason) in table {
            assert_eq!(time(text, unit), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("0", 0), ("1", 1), ("64k", 65_536), ("1M", 1 << 20), ("2g", 2 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        let table = [
            ("", "it is empty"),
            ("m", "expected a number at `m`"),
            ("1mb", "`mb` is not a unit: bytes have none, then `k`, `m`, `g`"),
            ("1.5m", "fractions are not allowed: use a smaller unit"),
            ("-1", "it is negative"),
            ("2048g", "it is larger than 1024g"),
        ];
        for (text, reason) in table {
            assert_eq!(size(text), Err(reason.to_owned()), "{text}");
        }
    }
}
