//! What does the calendar call this moment? In UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::date::Date;

/// A moment by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub date: Date,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub millis: u16,
}

/// Seconds since 1970 and milliseconds; a time before 1970 is 1970.
pub(super) fn since_1970(at: SystemTime) -> (u64, u16) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_millis() as u16)
}

/// `2000-10-10T13:55:36.042Z`.
pub fn utc(at: SystemTime) -> String {
    let civil = Civil::of(at);
    format!("{}.{:03}Z", civil.iso8601(), civil.millis)
}

impl Civil {
    pub(super) fn of(at: SystemTime) -> Civil {
        let (seconds, millis) = since_1970(at);
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        Civil {
            date: Date::of(days.cast_signed()),
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            millis,
        }
    }

    /// `10/Oct/2000:13:55:36 +0000`, as `$time_local`.
    pub(super) fn local(&self) -> String {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Civil { date: Date { year, month, day }, hour, minute, second, .. } = self;
        let month = MONTHS[usize::from(*month) - 1];
        format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }

    /// `2000-10-10T13:55:36`, to be followed by a fraction and a zone.
    pub(super) fn iso8601(&self) -> String {
        let Civil { date, hour, minute, second, .. } = self;
        format!("{date}T{hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_have_their_names() {
        let table = [
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00"),
            (951_782_399, "28/Feb/2000:23:59:59 +0000", "2000-02-28T23:59:59"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00"),
            (951_868_800, "01/Mar/2000:00:00:00 +0000", "2000-03-01T00:00:00"),
            (971_186_136, "10/Oct/2000:13:55:36 +0000", "2000-10-10T13:55:36"),
            (1_798_761_599, "31/Dec/2026:23:59:59 +0000", "2026-12-31T23:59:59"),
            (4_107_542_400, "01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00"),
        ];
        for (seconds, local, iso8601) in table {
            let civil = Civil::of(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!((civil.local().as_str(), civil.iso8601().as_str()), (local, iso8601));
        }
    }

    #[test]
    fn before_1970_is_1970() {
        assert_eq!(since_1970(UNIX_EPOCH - Duration::from_secs(5)), (0, 0));
    }
}
