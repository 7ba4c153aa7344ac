//! Which date is a day? The Gregorian calendar, and days since 1970-01-01.

use std::fmt;

/// A date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Anno Domini; 0 is the year before 1.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Date {
    /// The date of a day, which is told in days since 1970-01-01.
    pub fn of(days: i64) -> Date {
        // Years that begin in March put the leap day at their end; 400 of them have 146 097 days.
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Date { year: era * 400 + year + i64::from(month <= 2), month: month as u8, day: day as u8 }
    }

    /// Its day, in days since 1970-01-01: the reverse of [`Date::of`].
    pub fn days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = if month <= 2 { self.year - 1 } else { self.year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

/// `2000-10-10`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, days) in [
            ("1969-12-31", -1),
            ("1970-01-01", 0),
            ("2000-02-28", 11_015),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2024-12-31", 20_088),
            ("2050-01-01", 29_220),
            ("2100-02-28", 47_540),
            ("2100-03-01", 47_541),
        ] {
            assert_eq!((Date::of(days).to_string().as_str(), Date::of(days).days()), (text, days));
        }
    }

    proptest! {
        #[test]
        fn no_day_is_lost(days in -3_000_000..3_000_000i64) {
            prop_assert_eq!(Date::of(days).days(), days);
        }
    }
}
