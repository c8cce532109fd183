//! An authorization server with one client and tokens that live for seconds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::narration::Narration;

/// How long a token lives.
pub(super) const LIFETIME: Duration = Duration::from_secs(5);

pub(super) struct AuthorizationServer {
    /// What the one client's `Authorization` field must say.
    expected: String,
    narration: Rc<Narration>,
    count: Cell<u64>,
    issued: RefCell<BTreeMap<String, IssuedToken>>,
}

/// A token that has been handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct IssuedToken {
    pub(super) number: u64,
    pub(super) expires_at: Instant,
}

impl AuthorizationServer {
    pub(super) fn new(client_secret: String, narration: Rc<Narration>) -> Self {
        let pair = BASE64_STANDARD.encode(format!("demo:{client_secret}"));
        Self {
            expected: format!("Basic {pair}"),
            narration,
            count: Cell::new(0),
            issued: RefCell::default(),
        }
    }

    /// The token of this name, if it is good now.
    pub(super) fn introspect(&self, token: &str) -> Option<IssuedToken> {
        let token = *self.issued.borrow().get(token)?;
        (token.expires_at > Instant::now()).then_some(token)
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let client = request.headers().get(AUTHORIZATION);
        if client.is_none_or(|client| client.as_bytes() != self.expected.as_bytes()) {
            self.narration
                .tell("token", "refused: not the demo's client");
            return json_response(
                StatusCode::UNAUTHORIZED,
                &json!({ "error": "invalid_client" }),
            );
        }
        let number = self.count.get() + 1;
        self.count.set(number);
        let token = format!("{:032x}", fastrand::u128(..));
        let now = Instant::now();
        let mut issued = self.issued.borrow_mut();
        issued.retain(|_, token| token.expires_at > now);
        let expires_at = now + LIFETIME;
        issued.insert(token.clone(), IssuedToken { number, expires_at });
        let seconds = LIFETIME.as_secs();
        self.narration.tell(
            "token",
            format_args!("number {number} handed out, good for {seconds} s"),
        );
        json_response(
            StatusCode::OK,
            &json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds }),
        )
    }
}

pub(super) fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{body:#}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
