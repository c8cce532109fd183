//! What it takes to send a request once more with another token.
//!
//! A token may be revoked before its end. The refused generation is told to the refresher, and the
//! request is sent again, once, if its body was empty or could be kept whole. Otherwise, and when
//! no other token comes, the caller gets the upstream's 401 as it is.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::body::{Kept, OutgoingBody};
use crate::token::{RefusedBy, TokenReader};

/// The head of a request that has been sent.
pub(super) struct SentHead {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl SentHead {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    pub(super) fn with_body(self, body: Kept) -> Request<OutgoingBody> {
        let mut request = Request::new(OutgoingBody::Kept(body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Whether an answer says that the token is not good any more.
pub(super) fn is_refusal<B>(reader: &TokenReader, response: &Response<B>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
        && match reader.refused_by() {
            RefusedBy::Any401 => true,
            RefusedBy::InvalidToken => says_invalid_token(response.headers()),
            RefusedBy::Nothing => false,
        }
}

/// RFC 6750 §3.1: "invalid_token: The access token provided is expired, revoked, malformed, or
/// invalid for other reasons."
fn says_invalid_token(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    challenges.any(|challenge| {
        let mut parts = challenge.as_bytes().windows(INVALID_TOKEN.len());
        parts.any(|part| part == INVALID_TOKEN)
    })
}

const INVALID_TOKEN: &[u8] = b"invalid_token";
