//! What it takes to send a request once more.
//!
//! A kept connection may be closed by the upstream just as a request is sent on it.
//!
//! A token may be revoked before its end. The refused generation is told to the refresher, and the
//! request is sent again, once, if its body was empty or could be kept whole. Otherwise, and when
//! no other token comes, the caller gets the upstream's 401 as it is.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::body::{Kept, OutgoingBody, Progress};
use crate::token::{RefusedBy, TokenReader};

/// The head of a request that has been sent.
///
/// Nearly every request could have to be sent again and hardly any is, so its fields are kept in the
/// way that costs least to write: one after the other, as text. A clone of the map costs more than
/// parsing did.
pub(super) struct SentHead {
    method: Method,
    uri: Uri,
    /// `name:value` and a line feed, which neither can hold; `name;value` if it is a secret.
    fields: Vec<u8>,
}

impl SentHead {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut fields = Vec::with_capacity(USUAL_FIELDS);
        for (name, value) in request.headers() {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.push(match value.is_sensitive() {
                true => SECRET,
                false => PLAIN,
            });
            fields.extend_from_slice(value.as_bytes());
            fields.push(b'\n');
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields,
        }
    }

    pub(super) fn with_body(&self, body: Kept) -> Request<OutgoingBody> {
        let mut request = Request::new(OutgoingBody::Kept(body.into_iter()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().extend(self.fields());
        request
    }

    fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let lines = self.fields.split(|byte| *byte == b'\n');
        lines.filter_map(|line| {
            let end = line
                .iter()
                .position(|byte| matches!(*byte, PLAIN | SECRET))?;
            let (name, rest) = line.split_at_checked(end)?;
            let (kind, value) = rest.split_first()?;
            let name = HeaderName::from_bytes(name).ok()?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(*kind == SECRET);
            Some((name, value))
        })
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

/// What follows a field's name, which can hold neither.
const PLAIN: u8 = b':';
/// The same of a value that HTTP/2 must not take into a table (RFC 7541 §7.1.3), nor `Debug` show.
const SECRET: u8 = b';';

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

/// Bytes that the fields of most requests fit into.
const USUAL_FIELDS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_as_it_was() {
        let mut request = Request::put("/a?b=c:d").body(()).unwrap();
        for (name, value) in [
            ("cookie", &b"a=1"[..]),
            ("cookie", b"b=2"),
            ("x-empty", b""),
            ("x-colons", b":a::b:"),
            ("x-semicolons", b";a;;b;"),
            ("x-raw", b"\xff\t\x80"),
        ] {
            let name = HeaderName::from_static(name);
            request
                .headers_mut()
                .append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let mut secret = HeaderValue::from_static("k:e;y");
        secret.set_sensitive(true);
        request.headers_mut().append("x-api-key", secret);
        let again = SentHead::of(&request).with_body(Kept::new());
        assert_eq!(again.headers(), request.headers());
        // Two values are equal whether they are secrets or not.
        for (name, value) in again.headers() {
            assert_eq!(value.is_sensitive(), name == "x-api-key", "{name}");
        }
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
    }
}
