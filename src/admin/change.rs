//! The file: `POST /reload` reads it again, `POST /plan` says what that would change.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::failure::Failure;
use crate::control::plan::Plan;

/// What a reload did: the body of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file.
    pub file: String,
    /// It is in force: what changed. Absent: refused, and nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// Refused: every mistake; in force: warnings, if there are any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diagnostics: String,
}

/// What is to be compared with what runs: the body of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// What diagnostics call it.
    pub name: String,
    /// The text of a configuration.
    pub text: String,
}

/// What it would change: the body of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Absent: it has mistakes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Mistakes, or warnings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diagnostics: String,
}

/// Reads the file again, and answers once it is in force or refused.
pub(super) async fn reload(State(desk): State<Desk>) -> Result<Response, Failure> {
    let reloader = desk.reloader()?;
    let file = reloader.path().display().to_string();
    let read = reloader.reload().await.ok_or_else(Failure::stopping)?;
    let status = if read.changed.is_some() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let answer = Reloaded { file, changed: read.changed, diagnostics: read.diagnostics };
    Ok((status, Json(answer)).into_response())
}

/// Compares a configuration with the one in force; without a body, the file as it is now.
pub(super) async fn plan(State(desk): State<Desk>, body: Bytes) -> Result<Response, Failure> {
    let candidate: Option<Candidate> = match &body[..] {
        [] => None,
        body => Some(serde_json::from_slice(body).map_err(|error| {
            Failure::bad("JsonError", format!("the body makes no sense: {error}; send `name` and `text`, or nothing"))
        })?),
    };
    let reloader = desk.reloader()?;
    let loaded = match &candidate {
        Some(Candidate { name, text }) => reloader.parse(name, text),
        None => reloader.read(),
    };
    Ok(match loaded {
        Ok(loaded) => {
            let plan = Plan::of(&desk.topology(), loaded.config, desk.now());
            Json(Planned { plan: Some(plan), diagnostics: loaded.warnings.to_string() }).into_response()
        }
        Err(mistakes) => {
            let answer = Planned { plan: None, diagnostics: mistakes.to_string() };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response()
        }
    })
}
