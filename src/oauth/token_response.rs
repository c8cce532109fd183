//! Reading the token endpoint's answer: lenient about its form, strict about what is sent on.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::jwt_claims;
use super::token_endpoint::Answer;
use crate::token::source::{FailureKind, FetchError};

/// Where the token stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenLocation {
    /// In a JSON object, at this pointer (RFC 6901).
    Json(String),
    /// The answer is the token: as bare text, or as a JSON string.
    WholeBody,
}

impl Default for TokenLocation {
    fn default() -> Self {
        Self::Json(ACCESS_TOKEN.into())
    }
}

/// What an answer says of a token; how it is sent is not the provider's affair.
#[derive(Debug, Clone)]
pub struct ReceivedToken {
    /// The token: visible ASCII characters only, and of bounded length.
    pub secret: SecretString,
    /// How long it is good for; never zero.
    pub lifetime: Duration,
    /// When the provider wants it to be refreshed, if it says so.
    pub refresh_in: Option<Duration>,
}

/// Finds the token in an answer.
///
/// `default_lifetime` stands in for an `expires_in` that is missing or no number, if the token does
/// not say itself how long it lives. `confidential` are strings that are blotted out of what the
/// provider says about an error.
///
/// # Errors
///
/// The answer says no, or holds nothing that could be used. The message continues a sentence whose
/// subject is the token endpoint.
pub fn read(
    answer: &Answer,
    location: &TokenLocation,
    default_lifetime: Duration,
    confidential: &[String],
) -> Result<ReceivedToken, FetchError> {
    let json = parse_object(&answer.body);
    let said_no = json.as_ref().and_then(|json| refusal(json, confidential));
    let outcome = match (answer.status.as_u16(), json, said_no) {
        (status, _, Some(refusal)) => Err(refusal.into_error(status)),
        (200..=299, json, None) => match (location, json) {
            (TokenLocation::Json(pointer), Some(json)) => token(json, pointer, default_lifetime),
            (TokenLocation::Json(_), None) => Err(malformed(format!(
                "answered with {} instead of a JSON object; is this address a token endpoint?",
                describe(answer)
            ))),
            (TokenLocation::WholeBody, Some(_)) => Err(malformed(
                "answered with a JSON object instead of a bare token; check token_field",
            )),
            (TokenLocation::WholeBody, None) => whole_body(answer, default_lifetime),
        },
        (status, ..) => Err(without_reason(status, answer)),
    };
    outcome.map_err(|error| FetchError {
        retry_after: answer.retry_after,
        ..error
    })
}

fn token(
    json: Map<String, Value>,
    pointer: &str,
    default: Duration,
) -> Result<ReceivedToken, FetchError> {
    check_type(json.get("token_type"))?;
    let mut expires_in = json.get("expires_in").and_then(seconds);
    let refresh_in = json.get("refresh_in").and_then(seconds);
    let json = Value::Object(json);
    let secret = json
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| {
            let name = pointer.trim_start_matches('/');
            malformed(format!(
                "answered without {name}; is this address a token endpoint?"
            ))
        })?;
    check_characters(secret)?;
    if pointer != ACCESS_TOKEN
        && let Some(own) = jwt_claims::lifetime(secret)
    {
        // `expires_in` is the access token's; this is another, which may end before it.
        let own = own.as_secs_f64();
        expires_in = Some(expires_in.map_or(own, |seconds| seconds.min(own)));
    }
    Ok(ReceivedToken {
        secret: SecretString::from(secret),
        lifetime: lifetime(expires_in, secret, default)?,
        refresh_in: refresh_in.and_then(duration),
    })
}

/// A token without anything around it, which can only say itself how long it lives.
fn whole_body(answer: &Answer, default: Duration) -> Result<ReceivedToken, FetchError> {
    let text = match serde_json::from_slice(&answer.body) {
        Ok(Value::String(text)) => text,
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    let secret = text.trim();
    check_characters(secret)?;
    Ok(ReceivedToken {
        secret: SecretString::from(secret),
        lifetime: lifetime(None, secret, default)?,
        refresh_in: None,
    })
}

/// RFC 6749 §5.1: "token_type REQUIRED. […] Value is case insensitive." Some providers leave it out.
fn check_type(token_type: Option<&Value>) -> Result<(), FetchError> {
    match token_type.and_then(Value::as_str) {
        Some(other) if !other.eq_ignore_ascii_case("bearer") => Err(malformed(format!(
            "handed out a token of type \"{}\"; gatepass sends tokens of type Bearer",
            clean(other, &[])
        ))),
        _ => Ok(()),
    }
}

/// RFC 6749 Appendix A.12: access-token = 1*VSCHAR, that is, visible characters and spaces.
///
/// A space would end the token in the header and anything else would break the header, so visible
/// ASCII is what remains. RFC 6750's b64token is narrower still, but tokens of well-known
/// providers (Salesforce's hold a `!`) are not made of it.
fn check_characters(token: &str) -> Result<(), FetchError> {
    if token.is_empty() {
        return Err(malformed("answered with an empty access_token"));
    }
    if token.len() > LONGEST_TOKEN {
        return Err(malformed(format!(
            "handed out a token of {} characters; headers of more than {LONGEST_TOKEN} are \
             refused by nearly every server",
            token.len()
        )));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed(
            "handed out a token with a space, a control or a non-ASCII character in it, \
             which cannot be sent in a header",
        ));
    }
    Ok(())
}

/// By `expires_in`, else by the token's own words, else the default.
fn lifetime(
    expires_in: Option<f64>,
    token: &str,
    default: Duration,
) -> Result<Duration, FetchError> {
    let (lifetime, said_by) = match expires_in {
        Some(seconds) => (duration(seconds).unwrap_or_default(), "expires_in"),
        None => (
            jwt_claims::lifetime(token).unwrap_or(default),
            "its own exp",
        ),
    };
    if lifetime.is_zero() {
        return Err(malformed(format!(
            "handed out a token that is over already, as {said_by} says"
        )));
    }
    Ok(lifetime)
}

/// RFC 6749 §5.1 asks for a number of seconds; providers also write it as text or as a fraction.
/// Null, other text and the like are no number.
fn seconds(written: &Value) -> Option<f64> {
    let seconds = match written {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    seconds.filter(|seconds: &f64| !seconds.is_nan())
}

/// Nothing for what is not above zero; as long as there is for what is beyond all measure.
fn duration(seconds: f64) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Some(duration).filter(|duration| !duration.is_zero())
}

/// What a provider says when it says no (RFC 6749 §5.2).
struct Refusal {
    code: String,
    description: Option<String>,
}

/// The `error` of an answer. Some providers send it with status 200, so it is looked for first.
fn refusal(json: &Map<String, Value>, confidential: &[String]) -> Option<Refusal> {
    let text = |name: &str| {
        let text = json.get(name)?.as_str()?;
        Some(clean(text, confidential)).filter(|text| !text.is_empty())
    };
    Some(Refusal {
        code: text("error")?,
        description: text("error_description"),
    })
}

impl Refusal {
    fn into_error(self, status: u16) -> FetchError {
        let Self { code, description } = self;
        let (kind, advice) = judge(&code, status);
        let said = description.map_or_else(String::new, |said| format!(" (\"{said}\")"));
        FetchError::new(kind, format!("answered {status} {code}{said}; {advice}"))
    }
}

/// Whose fault an error code is, and what to do about it.
fn judge(code: &str, status: u16) -> (FailureKind, &'static str) {
    use FailureKind::{Refused, Throttled, Unavailable};
    match code {
        "invalid_client" => (
            Refused,
            "check client_id, the client secret and token_endpoint_auth_method",
        ),
        "unauthorized_client" | "unsupported_grant_type" => (
            Refused,
            "have the provider allow the client credentials grant for this client",
        ),
        "invalid_scope" => (Refused, "check scope against what the client may have"),
        "invalid_target" => (Refused, "check audience"),
        "slow_down" => (Throttled, "gatepass asks less often"),
        "temporarily_unavailable" | "server_error" => (Unavailable, "gatepass keeps trying"),
        _ if status == 429 => (Throttled, "gatepass asks less often"),
        _ if status >= 500 => (Unavailable, "gatepass keeps trying"),
        _ => (Refused, "check scope, audience and client_id"),
    }
}

/// An answer that is no success and names no OAuth error.
fn without_reason(status: u16, answer: &Answer) -> FetchError {
    let (kind, advice) = match status {
        300..=399 => (
            FailureKind::Misconfigured,
            "a redirect is not followed, because it would hand the client secret to another \
             place; write the final address into token_endpoint",
        ),
        401 | 403 => (
            FailureKind::Refused,
            "check client_id, the client secret and token_endpoint_auth_method",
        ),
        404 | 405 | 410 => (
            FailureKind::Misconfigured,
            "nothing takes token requests there; check token_endpoint",
        ),
        408 | 500.. => (FailureKind::Unavailable, "gatepass keeps trying"),
        429 => (FailureKind::Throttled, "gatepass asks less often"),
        _ => (
            FailureKind::Refused,
            "check token_endpoint, scope and audience",
        ),
    };
    FetchError::new(
        kind,
        format!("answered {status} with {}; {advice}", describe(answer)),
    )
}

/// A byte order mark is not JSON, but it is not worth losing a token over.
fn parse_object(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).ok()
}

/// What kind of body it is; never what stands in it.
fn describe(answer: &Answer) -> String {
    let length = answer.body.len();
    match &answer.content_type {
        _ if length == 0 => "an empty body".into(),
        Some(content_type) => format!("{length} bytes of {}", clean(content_type, &[])),
        None => format!("{length} bytes of no stated type"),
    }
}

/// Makes a provider's words fit to be logged: no secrets, no control characters, not too many.
///
/// Secrets go first: cutting first could leave half of one.
fn clean(text: &str, confidential: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in confidential {
        text = text.replace(secret, "•••");
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_QUOTE)
        .collect()
}

fn malformed(message: impl Into<String>) -> FetchError {
    FetchError::new(FailureKind::Malformed, message)
}

/// RFC 6749 §5.1.
const ACCESS_TOKEN: &str = "/access_token";

/// Servers commonly refuse a header above 8 or 16 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;

/// How many characters of a provider's words are passed on.
const LONGEST_QUOTE: usize = 200;

#[cfg(test)]
mod tests;
