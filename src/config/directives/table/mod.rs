//! The table itself: a part for each file that decodes it.

use super::place::EVERYWHERE;
use super::{Directive, Fallback, Kind, Place};

mod admin;
mod client;
mod health_check;
mod limits;
mod location;
mod peer;
mod proxy;
mod returns;
mod server;
mod shares;
mod source;
mod sticky;
mod stream;
mod tls;
mod top;
mod upstream;

/// The parts, in the order in which the documentation shows what several places have in common.
pub(super) const PARTS: &[&[Directive]] = &[
    top::TABLE,
    upstream::TABLE,
    peer::TABLE,
    tls::TABLE,
    sticky::TABLE,
    source::TABLE,
    health_check::TABLE,
    server::TABLE,
    location::TABLE,
    shares::TABLE,
    returns::TABLE,
    proxy::TABLE,
    limits::TABLE,
    client::TABLE,
    stream::TABLE,
    admin::TABLE,
];

/// The largest number of 32 bits.
const U32: u64 = u32::MAX as u64;
/// 1 GiB, in bytes.
const GIB: u64 = 1 << 30;

const fn at(
    places: &'static [Place],
    key: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
) -> Directive {
    Directive { key, places, kind, default, doc }
}
