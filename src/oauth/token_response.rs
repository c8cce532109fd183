//! Reading the token endpoint's answer: lenient about its form, strict about what is sent on.

mod body;
mod instead;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::AnswerSettings;
use super::grant::Grant;
use super::jwt_claims::{self, Clock};
use super::refusal::{Refusal, said, without_reason};
use super::transport::Answer;
use crate::token::source::{FailureKind, FetchError, FetchedToken};
use crate::token::{LONGEST_LIFE, clock};
use crate::wording::{Confidential, harmless};
use body::{bare_token, could_be_bare, is_of_token_characters};
use instead::{CHECK_TOKEN_FIELD, instead_of_a_token};

pub(super) use body::{describe, fields, is_page, where_to_look};

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
    /// How long it is good for: never zero, ten years at most.
    pub lifetime: Duration,
    /// When the provider wants it to be refreshed, if it says so.
    pub refresh_in: Option<Duration>,
    /// What gets the next one.
    pub refresh_token: Option<SecretString>,
}

impl ReceivedToken {
    /// As requests are to carry it, when it was asked for just now.
    pub(super) fn sent_as(self, scheme: &str) -> FetchedToken {
        FetchedToken {
            secret: self.secret,
            scheme: scheme.to_owned(),
            lifetime: self.lifetime,
            refresh_in: self.refresh_in,
            age: Duration::ZERO,
            refused_secret: None,
        }
    }
}

/// Finds the token in an answer.
///
/// `confidential` are strings that are blotted out of what the provider says about an error.
///
/// # Errors
///
/// The answer says no, or holds nothing that could be used. The message continues a sentence whose
/// subject is the token endpoint.
pub(super) fn read(
    answer: &Answer,
    settings: &AnswerSettings,
    grant: &Grant,
    confidential: &Confidential,
) -> Result<ReceivedToken, Refusal> {
    let status = answer.status.as_u16();
    let fields = fields(answer);
    let said_no = fields
        .as_ref()
        .and_then(|fields| said(fields, confidential));
    let outcome = match (status, said_no) {
        (status, Some(said)) => Err(said.judge(status, grant)),
        (200..=299, None) => {
            let refresh_token = fields.as_ref().and_then(refresh_token);
            let token = match instead_of_a_token(answer, fields.as_ref(), settings, confidential) {
                Some(said) if refresh_token.is_none() => Err(said),
                _ => token(answer, fields, settings, Clock::Fresh, confidential),
            };
            token.map_err(|error| Refusal {
                refresh_token,
                ..Refusal::new(error)
            })
        }
        (status, None) => {
            let fields = fields.as_ref();
            Err(without_reason(status, answer, fields, confidential, grant))
        }
    };
    outcome.map_err(|refusal| Refusal {
        error: FetchError {
            retry_after: answer.retry_after,
            ..refusal.error
        },
        ..refusal
    })
}

/// Finds the token in a text that no provider has just answered: a file that somebody else writes,
/// and wrote so long ago.
///
/// # Errors
///
/// It holds nothing that could be used. The message continues a sentence whose subject is the file.
pub(super) fn read_kept(
    text: Vec<u8>,
    age: Duration,
    settings: &AnswerSettings,
) -> Result<ReceivedToken, FetchError> {
    let answer = Answer {
        status: http::StatusCode::OK,
        retry_after: None,
        content_type: None,
        body: text,
    };
    let fields = fields(&answer);
    let confidential = Confidential::default();
    token(
        &answer,
        fields,
        settings,
        Clock::Kept { age },
        &confidential,
    )
}

/// The fuzz targets' way in: whatever an answer holds, reading it comes to an end.
#[doc(hidden)]
pub fn read_anything(content_type: Option<String>, body: &[u8]) {
    let answer = Answer {
        status: http::StatusCode::OK,
        retry_after: None,
        content_type,
        body: body.to_vec(),
    };
    let settings = AnswerSettings {
        token: vec![TokenLocation::default(), TokenLocation::WholeBody],
        token_type: Some("Bearer".into()),
        default_lifetime: Duration::from_secs(300),
    };
    if let Ok(token) = read(
        &answer,
        &settings,
        &Grant::ClientCredentials,
        &Confidential::default(),
    ) {
        assert!(!token.lifetime.is_zero(), "no life is zero");
    }
}

/// A token at the first of the places that has one.
fn token(
    answer: &Answer,
    fields: Option<Map<String, Value>>,
    settings: &AnswerSettings,
    clock: Clock,
    confidential: &Confidential,
) -> Result<ReceivedToken, FetchError> {
    let received = fields.as_ref().and_then(refresh_token);
    let fields = fields.map(Value::Object);
    let found = settings.token.iter().find_map(|place| {
        let secret = match (place, &fields) {
            (TokenLocation::Json(pointer), Some(fields)) => {
                fields.pointer(pointer)?.as_str()?.to_owned()
            }
            (TokenLocation::WholeBody, None) => bare_token(answer),
            _ => return None,
        };
        Some((place, secret))
    });
    if let Some(fields) = &fields {
        // Whoever takes one field for the other may put a token there.
        let tokens = received.as_ref().map(ExposeSecret::expose_secret);
        let tokens = tokens
            .into_iter()
            .chain(found.as_ref().map(|(_, token)| token.as_str()));
        let quote = |text: &str| clean(text, &confidential.and(tokens));
        check_type(
            fields.get("token_type"),
            settings.token_type.as_deref(),
            quote,
        )?;
    }
    let found = found.ok_or_else(|| missing(answer, fields.is_some(), settings, confidential));
    let (place, secret) = found?;
    if *place == TokenLocation::WholeBody && !could_be_bare(&secret) {
        return Err(no_bare_token(answer, &secret, confidential));
    }
    check_characters(&secret)?;
    let number = |names: [&str; 2]| {
        let fields = fields.as_ref()?;
        names.iter().find_map(|name| seconds(fields.get(name)?))
    };
    let left = |seconds: f64| match clock {
        Clock::Fresh => seconds,
        Clock::Kept { age } => seconds - age.as_secs_f64(),
    };
    let stated = number(["expires_in", "expiresIn"]).map(left);
    let stated = stated.or_else(|| number(["expires_on", "expires_at"]).and_then(left_until));
    let refresh_in = number(["refresh_in", "refreshIn"]).map(left);
    Ok(ReceivedToken {
        // All who reckon with it do so without an overflow.
        lifetime: lifetime(stated, &secret, settings.default_lifetime, clock)?.min(LONGEST_LIFE),
        secret: SecretString::from(secret),
        refresh_in: refresh_in.and_then(duration),
        refresh_token: received,
    })
}

/// What is neither empty nor beyond all measure.
fn refresh_token(fields: &Map<String, Value>) -> Option<SecretString> {
    let names = ["refresh_token", "refreshToken"];
    let text = names.iter().find_map(|name| fields.get(*name)?.as_str())?;
    (1..=LONGEST_TOKEN)
        .contains(&text.len())
        .then(|| text.into())
}

/// What stands there instead is as a rule a page for people.
fn no_bare_token(answer: &Answer, text: &str, confidential: &Confidential) -> FetchError {
    let scheme = text.split(' ').next().unwrap_or_default();
    match scheme.eq_ignore_ascii_case("bearer") {
        true => malformed("has the word Bearer before its token")
            .advise("take it off: the token alone is needed"),
        false => malformed(format!(
            "answered with {} instead of a bare token",
            describe(answer, confidential)
        ))
        .advise(where_to_look(answer)),
    }
}

/// Says what is there instead of a token.
fn missing(
    answer: &Answer,
    has_fields: bool,
    settings: &AnswerSettings,
    confidential: &Confidential,
) -> FetchError {
    match has_fields {
        false => malformed(format!(
            "answered with {} instead of a JSON object",
            describe(answer, confidential)
        ))
        .advise(where_to_look(answer)),
        true => {
            malformed(format!("answered without {}", wanted(settings))).advise(CHECK_TOKEN_FIELD)
        }
    }
}

/// The places where a token was looked for.
fn wanted(settings: &AnswerSettings) -> String {
    let places = settings.token.iter().map(|place| match place {
        TokenLocation::Json(pointer) => pointer.trim_start_matches('/'),
        TokenLocation::WholeBody => "a bare token",
    });
    places.collect::<Vec<_>>().join(" or ")
}

/// RFC 6749 §5.1: "token_type REQUIRED. […] Value is case insensitive." Some providers leave it out.
fn check_type(
    found: Option<&Value>,
    wanted: Option<&str>,
    quote: impl FnOnce(&str) -> String,
) -> Result<(), FetchError> {
    match (found.and_then(Value::as_str), wanted) {
        (Some(other), Some(wanted)) if !other.eq_ignore_ascii_case(wanted) => {
            Err(malformed(format!(
                "handed out a token of type \"{}\" instead of \"{wanted}\"",
                quote(other)
            ))
            .advise("set token_type if it is to be sent nevertheless"))
        }
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
        return Err(malformed("answered with an empty token").advise("check token_field"));
    }
    if token.len() > LONGEST_TOKEN {
        return Err(malformed(format!(
            "handed out a token of {} characters: headers of more than {LONGEST_TOKEN} are \
             refused by nearly every server",
            token.len()
        ))
        .advise("have the provider put less into its tokens"));
    }
    if !is_of_token_characters(token) {
        return Err(malformed(
            "handed out a token with a space, a control or a non-ASCII character in it, \
             which cannot be sent in a header",
        ));
    }
    Ok(())
}

/// By `expires_in` and by the token's own words, whichever ends first; else the default.
fn lifetime(
    stated: Option<f64>,
    token: &str,
    default: Duration,
    clock: Clock,
) -> Result<Duration, FetchError> {
    let stated = stated.map(|seconds| (duration(seconds).unwrap_or_default(), "expires_in"));
    let own = jwt_claims::lifetime(token, clock).map(|own| (own, "its own exp"));
    let ends_first = match (stated, own) {
        // Its own words go by this machine's clock, which may be wrong by as much.
        (Some(stated), Some((own, _))) if own.is_zero() && clock == Clock::Fresh => Some(stated),
        (stated, own) => stated
            .into_iter()
            .chain(own)
            .min_by_key(|(lifetime, _)| *lifetime),
    };
    match ends_first {
        None => Ok(default),
        Some((lifetime, _)) if !lifetime.is_zero() => Ok(lifetime),
        Some((_, said_by)) => Err(malformed(format!(
            "handed out a token that is over already, as {said_by} says"
        ))),
    }
}

/// RFC 6749 §5.1 asks for a number of seconds; providers also write it as text or as a fraction.
/// Null, other text and the like are no number.
pub(super) fn seconds(written: &Value) -> Option<f64> {
    let seconds = match written {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    seconds.filter(|seconds: &f64| !seconds.is_nan())
}

/// How long it is until a moment that is written as Unix time, in seconds or in thousandths. Nothing for what
/// is past or years away: it is written otherwise, or this machine's clock is wrong.
fn left_until(written: f64) -> Option<f64> {
    let at = match written > 1e11 {
        true => written / 1e3,
        false => written,
    };
    let left = at - clock::unix_now().as_secs_f64();
    (0.0..LONGEST_LIFE.as_secs_f64())
        .contains(&left)
        .then_some(left)
}

/// Nothing for what is not above zero; as long as there is for what is beyond all measure.
pub(super) fn duration(seconds: f64) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Some(duration).filter(|duration| !duration.is_zero())
}

/// Makes a provider's words fit to be logged: no secrets, no control characters, not too many.
///
/// Secrets go first: cutting first could leave half of one.
pub(super) fn clean(text: &str, confidential: &Confidential) -> String {
    let quote: String = confidential
        .blot_out(text)
        .chars()
        .take(LONGEST_QUOTE)
        .collect();
    harmless(&quote)
}

fn malformed(message: impl Into<String>) -> FetchError {
    FailureKind::Malformed.because(message)
}

/// RFC 6749 §5.1.
const ACCESS_TOKEN: &str = "/access_token";

/// Servers commonly refuse a header above 8 or 16 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;

/// How many characters of a provider's words are passed on.
const LONGEST_QUOTE: usize = 200;

#[cfg(test)]
mod tests;
