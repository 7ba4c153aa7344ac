//! What does a client of the API hear when something is wrong? JSON in the shape of ngx_http_api_module, with a sentence
//! that says what to do.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::control::operator::Stuck;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status of the answer.
    pub status: StatusCode,
    /// The API's word for it.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Failure {
    /// 400.
    pub fn bad(code: &'static str, text: impl Into<String>) -> Failure {
        Failure { status: StatusCode::BAD_REQUEST, code, text: text.into() }
    }

    /// 403.
    pub fn forbidden(code: &'static str, text: impl Into<String>) -> Failure {
        Failure { status: StatusCode::FORBIDDEN, code, text: text.into() }
    }

    /// 404.
    pub fn not_found(code: &'static str, text: impl Into<String>) -> Failure {
        Failure { status: StatusCode::NOT_FOUND, code, text: text.into() }
    }

    /// 409.
    pub fn conflict(code: &'static str, text: impl Into<String>) -> Failure {
        Failure { status: StatusCode::CONFLICT, code, text: text.into() }
    }

    /// 405, with what is allowed.
    pub fn method(allowed: &str) -> Failure {
        let text = format!("this takes {allowed}");
        Failure { status: StatusCode::METHOD_NOT_ALLOWED, code: "MethodDisabled", text }
    }

    /// weir is stopping.
    pub fn stopping() -> Failure {
        let text = "weir is stopping: nothing changes any more".to_owned();
        Failure { status: StatusCode::SERVICE_UNAVAILABLE, code: "Stopping", text }
    }
}

impl From<Stuck> for Failure {
    fn from(stuck: Stuck) -> Failure {
        match stuck {
            Stuck::NoGroup(text) => Failure::not_found("UpstreamNotFound", text),
            Stuck::NoPeer(text) => Failure::not_found("UpstreamServerNotFound", text),
            Stuck::Held(text) => Failure::conflict("UpstreamServerHeld", text),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure { status, code, text } = self;
        let body = json!({
            "error": { "status": status.as_u16(), "text": text, "code": code },
            "request_id": format!("{:032x}", rand::random::<u128>()),
            "href": "https://nginx.org/en/docs/http/ngx_http_api_module.html",
        });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
