//! `limit_req` and `limit_conn`, and their zones.

use super::Fallback::{Is, Required};
use super::Kind::{Choice, Number, Own, Size, Switch, Text};
use super::Place::{LimitConn, LimitConnZone, LimitReq, LimitReqZone};
use super::{Directive, EVERYWHERE, GIB, Kind, at};
use crate::shape::{Buckets, Connections};

const CLIENT_KEY: Kind = Own("a template: `\"$remote_addr\"`, `\"$http_x_api_key\"`");
const LOG_LEVELS: &[&str] = &["info", "notice", "warn", "error"];

pub(super) const TABLE: &[Directive] = &[
    at(
        EVERYWHERE,
        "limit_req",
        Own("a table, or a list: `{ zone = \"per_client\", burst = 20 }`"),
        Is("[]"),
        "how fast requests may come; all of several must allow it; a level that has this inherits none",
    ),
    at(EVERYWHERE, "limit_req_status", Number(400, 599), Is("503"), "the answer to a request that comes too fast"),
    at(
        EVERYWHERE,
        "limit_req_dry_run",
        Switch,
        Is("false"),
        "nothing is refused or delayed, only logged: `$limit_req_status`",
    ),
    at(
        EVERYWHERE,
        "limit_req_log_level",
        Choice(LOG_LEVELS),
        Is("\"error\""),
        "how loudly refusals are logged, a line a second and zone; delays one level lower",
    ),
    at(
        EVERYWHERE,
        "limit_conn",
        Own("a table, or a list: `{ zone = \"per_client\", connections = 10 }`"),
        Is("[]"),
        "how many requests may be in flight; all of several must allow it; a level that has this inherits none",
    ),
    at(EVERYWHERE, "limit_conn_status", Number(400, 599), Is("503"), "the answer to a request that is one too many"),
    at(EVERYWHERE, "limit_conn_dry_run", Switch, Is("false"), "nothing is refused, only logged: `$limit_conn_status`"),
    at(
        EVERYWHERE,
        "limit_conn_log_level",
        Choice(LOG_LEVELS),
        Is("\"error\""),
        "how loudly refusals are logged, a line a second and zone",
    ),
    //
    at(&[LimitReqZone], "key", CLIENT_KEY, Required, "what tells clients apart; without it a request is not limited"),
    at(
        &[LimitReqZone],
        "rate",
        Own("`\"10r/s\"` or `\"30r/m\"`"),
        Required,
        "how fast requests of one client may come",
    ),
    at(
        &[LimitReqZone],
        "size",
        Size(Buckets::MIN_SIZE, 16 * GIB),
        Is("\"10m\""),
        "memory for clients, 8,192 a megabyte; when it is used up, the one not seen for longest is forgotten",
    ),
    //
    at(&[LimitConnZone], "key", CLIENT_KEY, Required, "what tells clients apart; without it a request is not limited"),
    at(
        &[LimitConnZone],
        "size",
        Size(Connections::MIN_SIZE, 16 * GIB),
        Is("\"10m\""),
        "memory for clients with requests in flight, 16,384 a megabyte; one more is refused",
    ),
    //
    at(&[LimitReq], "zone", Text, Required, "the name of a `[limit_req_zone.NAME]`"),
    at(
        &[LimitReq],
        "burst",
        Number(0, 1_000_000_000),
        Is("0"),
        "requests that may be ahead of the rate; one more is refused",
    ),
    at(
        &[LimitReq],
        "delay",
        Number(0, 1_000_000_000),
        Is("0"),
        "how many of the burst go on at once; the others wait for their turn",
    ),
    at(&[LimitReq], "nodelay", Switch, Is("false"), "the whole burst goes on at once"),
    //
    at(&[LimitConn], "zone", Text, Required, "the name of a `[limit_conn_zone.NAME]`"),
    at(&[LimitConn], "connections", Number(1, 65_535), Required, "how many requests of one client may be in flight"),
];
