//! An upstream that wants a good token and answers with what it saw.

use std::rc::Rc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::authorization_server::{AuthorizationServer, IssuedToken, json_response};
use super::narration::Narration;
use crate::server::CallerBody;

pub(super) struct Upstream {
    provider: Rc<AuthorizationServer>,
    narration: Rc<Narration>,
}

impl Upstream {
    pub(super) fn new(provider: Rc<AuthorizationServer>, narration: Rc<Narration>) -> Self {
        Self {
            provider,
            narration,
        }
    }

    pub(super) async fn answer(&self, request: Request<CallerBody>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let what = format!("{} {}", head.method, head.uri);
        let Some(token) = self.token(&head) else {
            self.narration
                .tell("request", format_args!("{what} without a good token: 401"));
            return json_response(
                StatusCode::UNAUTHORIZED,
                &json!({ "error": "invalid_token" }),
            );
        };
        let number = token.number;
        self.narration.tell(
            "request",
            format_args!("{what} with token number {number}: 200"),
        );
        let body = shown(body).await;
        json_response(StatusCode::OK, &seen(&head, &body, token))
    }

    fn token(&self, head: &Parts) -> Option<IssuedToken> {
        let field = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
        self.provider.introspect(field.strip_prefix("Bearer ")?)
    }
}

/// A body as it is shown. One that is too large is read to its end all the same: whoever is answered
/// while still sending may lose the answer when the connection closes.
async fn shown(mut body: CallerBody) -> String {
    let (mut seen, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return "(not shown: broken off)".into();
        };
        if let Some(piece) = frame.data_ref() {
            length += piece.len();
            if length <= LARGEST_BODY {
                seen.extend_from_slice(piece);
            }
        }
    }
    match length <= LARGEST_BODY {
        true => String::from_utf8_lossy(&seen).into_owned(),
        false => format!("(not shown: {length} bytes)"),
    }
}

/// What the upstream saw, with the token blotted out.
fn seen(head: &Parts, body: &str, token: IssuedToken) -> Value {
    let left = token.expires_at.saturating_duration_since(Instant::now());
    let fields: Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let shown = if name == AUTHORIZATION {
                format!(
                    "Bearer ••• (token number {}, good for another {:.1} s)",
                    token.number,
                    left.as_secs_f64()
                )
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.to_string(), shown.into())
        })
        .collect();
    json!({
        "upstream_saw": {
            "method": head.method.as_str(),
            "path": head.uri.to_string(),
            "headers": fields,
            "body": body,
        }
    })
}

/// Of a request's body that is shown in the answer.
const LARGEST_BODY: usize = 64 * 1024;
