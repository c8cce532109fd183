//! What it takes to send a request once more.
//!
//! A kept connection may be closed by the upstream just as a request is sent on it.
//!
//! A token may be revoked before its end. The refused generation is told to the refresher, and the
//! request is sent again, once, if its body was empty or could be kept whole. Otherwise, and when
//! no other token comes, the caller gets the upstream's 401 as it is.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::body::{Kept, OutgoingBody, Progress};
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

    pub(super) fn with_body(&self, body: Kept) -> Request<OutgoingBody> {
        let mut request = Request::new(OutgoingBody::Kept(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The request once more, if it is harmless to send it twice and its body is at hand.
    ///
    /// RFC 9110 §9.2.2: "Idempotent methods are distinguished because the request can be repeated
    /// automatically if a communication failure occurs before the client is able to read the
    /// server's response. […] A proxy MUST NOT automatically retry non-idempotent requests."
    pub(super) fn repeated(&self, progress: Option<&Progress>) -> Option<Request<OutgoingBody>> {
        match self.method.is_idempotent() {
            true => self.once_more(progress),
            false => None,
        }
    }

    /// The request once more, whatever it does, if its body is at hand.
    pub(super) fn once_more(&self, progress: Option<&Progress>) -> Option<Request<OutgoingBody>> {
        Some(self.with_body(whole_body(progress)?))
    }
}

/// The body of a request, if there was none or it was kept whole.
pub(super) fn whole_body(progress: Option<&Progress>) -> Option<Kept> {
    match progress {
        None => Some(Kept::new()),
        Some(progress) => progress.kept(),
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
