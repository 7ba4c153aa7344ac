//! Who gets shares of a location's requests: `split` and `mirror`.

use super::Fallback::{Is, Required};
use super::Kind::{Number, Own, Text, Time};
use super::Place::{Mirror, Split};
use super::{Directive, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

pub(super) const TABLE: &[Directive] = &[
    at(&[Split], "upstream", Text, Required, "the name of an `[upstream.NAME]`"),
    at(&[Split], "percent", Own("a number, or `\"0.5%\"`"), Required, "its share of the requests"),
    //
    at(&[Mirror], "upstream", Text, Required, "the name of an `[upstream.NAME]`"),
    at(&[Mirror], "percent", Own("a number, or `\"0.5%\"`"), Is("100"), "the share of the requests that is copied"),
    at(
        &[Mirror],
        "max",
        Number(1, 65_535),
        Is("100"),
        "copies that may be under way at once, over all workers; more are not made",
    ),
    at(
        &[Mirror],
        "timeout",
        Time(Ms, 1),
        Is("\"10s\""),
        "how long the upstream may be silent; a copy takes at most twice that",
    ),
];
