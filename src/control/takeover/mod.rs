//! How does one weir follow another without losing a connection? The running one, the predecessor, hands its listening
//! sockets to its successor, which accepts from them before the predecessor stops.
//!
//! | who | says |
//! | --- | --- |
//! | successor | `Hello` |
//! | predecessor | `Offer::Sockets` and the sockets, or `Offer::Refused` |
//! | successor | `Ready`: it has looked at its peers, and accepts |
//! | predecessor | `Verdict::Yours`, or `Verdict::Refused` |
//! | predecessor | closes the connection: it has let go |
//!
//! Until `Verdict::Yours` is said, whatever happens to the successor, the predecessor goes on as before. A successor that
//! leaves before it has heard it cannot be told any more, which the predecessor notices.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::net::descriptors::Channel;
use crate::net::socket_file::FileId;

mod health;
mod predecessor;
mod successor;
mod upgrade;

pub use predecessor::{Predecessor, Succession};
pub use successor::Successor;
pub use upgrade::{arguments_of_successor, on_signal};

/// What is said below, and how. Another one is refused, not guessed at.
const VERSION: u32 = 1;
/// How long either side may take for what it can say at once.
const PROMPT: Duration = Duration::from_secs(5);

/// What the successor begins with.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    version: u32,
}

/// What the predecessor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Offer {
    /// The descriptors follow, in this order.
    Sockets(Box<Sockets>),
    /// Not now, or not to this one.
    Refused(String),
}

/// Sockets, and what goes with them.
#[derive(Debug, Serialize, Deserialize)]
struct Sockets {
    lots: Vec<Described>,
    /// What operators have changed, as in the state file.
    adjustments: Value,
    /// What `sticky` goes by where the configuration says none.
    secret: Vec<u8>,
    health: health::Known,
}

/// The sockets of one address.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    /// As configured.
    place: String,
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileId>,
}

/// The successor accepts.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    /// From the sockets of these places; it has closed the others.
    places: Vec<String>,
}

/// What the predecessor says of that.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The sockets are the successor's. If operators have changed something since the offer, all that they have changed.
    Yours(Option<Value>),
    /// The predecessor goes on.
    Refused(String),
}

/// Says something.
///
/// # Errors
/// In words: the other process is gone.
async fn say(channel: &mut Channel, message: &impl Serialize) -> Result<(), String> {
    let bytes = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    channel.say(&bytes).await.map_err(|error| error.to_string())
}

/// Hears something.
///
/// # Errors
/// In words: the other process is gone, silent for `limit`, or talks nonsense.
async fn hear<T: DeserializeOwned>(channel: &mut Channel, limit: Duration) -> Result<T, String> {
    match tokio::time::timeout(limit, channel.hear()).await {
        Ok(Ok(bytes)) => parse(&bytes),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err("it is gone".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it was silent for {limit:?}")),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("it cannot be understood: {error}"))
}
