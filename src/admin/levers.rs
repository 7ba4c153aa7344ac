//! weir's own levers: `POST /levers`. A peer, what to do with it, for how long, who says so and why.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::failure::Failure;
use super::listener::Visitor;
use super::status::{PeerStatus, Status};
use crate::control::operator::{self, Lever};

/// What is to be done: the body of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// `GROUP/PEER`.
    pub peer: String,
    /// `drain`, `undrain`, `down`, `up` or `weight`.
    pub lever: String,
    /// With `weight`: 1 to 65535; absent: the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// How long it holds, in milliseconds; absent: until it is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Who says so, such as `user@host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of it: the body of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    /// `GROUP/SERVER`, or `GROUP/IP:PORT` for one address of a name.
    pub peer: String,
    /// All peers that were meant, as they are now.
    pub peers: Vec<PeerStatus>,
}

/// Longer than this is until it is lifted.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Pulls a lever, and answers once that is in force.
pub(super) async fn pull(
    State(desk): State<Desk>,
    Extension(visitor): Extension<Visitor>,
    body: Bytes,
) -> Result<Json<Pulled>, Failure> {
    let pull: Pull = serde_json::from_slice(&body).map_err(|error| {
        let example = "send such as {\"peer\": \"web/app2\", \"lever\": \"drain\"}";
        Failure::bad("JsonError", format!("the body makes no sense: {error}; {example}"))
    })?;
    let lever = lever(&pull)?;
    let lasts = pull.for_ms.map(Duration::from_millis);
    if lasts.is_some_and(|lasts| lasts.is_zero() || lasts > LONGEST) {
        return Err(Failure::bad("BadTime", "`for_ms` is from a millisecond to 366 days; leave it out for no end"));
    }
    let hand = desk.hand(&visitor, pull.by.as_deref(), pull.reason.as_deref(), lasts);
    let topology = desk.topology();
    let target = operator::target(&topology, &pull.peer)?;
    desk.adjust(operator::pull(&topology, &target, lever, &hand, desk.now())?).await?;
    let groups = Status::of(&desk.topology(), desk.now()).only(&target).groups;
    let peers = groups.into_iter().flat_map(|group| group.peers).collect();
    Ok(Json(Pulled { peer: operator::short(&target), peers }))
}

fn lever(pull: &Pull) -> Result<Lever, Failure> {
    let lever = match pull.lever.as_str() {
        "drain" => Lever::Drain,
        "undrain" => Lever::Undrain,
        "down" => Lever::Down,
        "up" => Lever::Up,
        "weight" => Lever::Weight(pull.weight),
        _ => return Err(Failure::bad("BadLever", "`lever` is drain, undrain, down, up or weight")),
    };
    match lever {
        Lever::Weight(Some(weight)) if !(1..=65_535).contains(&weight) => {
            Err(Failure::bad("UpstreamBadWeight", "`weight` takes a number from 1 to 65535; for no requests: drain"))
        }
        Lever::Weight(_) => Ok(lever),
        _ if pull.weight.is_some() => Err(Failure::bad("BadLever", "`weight` belongs to the lever weight")),
        _ => Ok(lever),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lever_is_one_of_five_and_only_weight_has_a_number() {
        let of = |name: &str, weight| {
            let pull = Pull { lever: name.into(), weight, ..Pull::default() };
            lever(&pull).map_err(|failure| failure.code)
        };
        assert_eq!(of("drain", None), Ok(Lever::Drain));
        assert_eq!(of("weight", Some(5)), Ok(Lever::Weight(Some(5))));
        assert_eq!(of("weight", None), Ok(Lever::Weight(None)));
        assert_eq!(of("weight", Some(0)), Err("UpstreamBadWeight"));
        assert_eq!(of("weight", Some(65_536)), Err("UpstreamBadWeight"));
        assert_eq!(of("drain", Some(1)), Err("BadLever"));
        assert_eq!(of("explode", None), Err("BadLever"));
    }
}
