//! What an answer's body is: fields, a bare token, or something else.

use serde_json::{Map, Value};

use super::clean;
use crate::oauth::transport::Answer;
use crate::wording::Confidential;

/// The fields of an answer that has any: of a JSON object as a rule, whatever it is called, of a form
/// with a few old providers. A byte order mark is not JSON, but it is not worth losing a token over.
pub(in crate::oauth) fn fields(answer: &Answer) -> Option<Map<String, Value>> {
    let body = &answer.body;
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let of_json = serde_json::from_slice(text).ok();
    of_json.or_else(|| {
        let kind = answer.content_type.as_deref()?;
        is_media_type(kind, "application/x-www-form-urlencoded").then(|| {
            let pairs = form_urlencoded::parse(text);
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        })
    })
}

/// RFC 9110 §8.3.1: "The type and subtype tokens are case-insensitive."
fn is_media_type(content_type: &str, wanted: &str) -> bool {
    let named = content_type.split(';').next().unwrap_or_default();
    named.trim().eq_ignore_ascii_case(wanted)
}

pub(super) fn bare_token(answer: &Answer) -> String {
    let text = match serde_json::from_slice(&answer.body) {
        Ok(Value::String(text)) => text,
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    text.trim().to_owned()
}

/// A token that stands alone is told apart from what somebody is still writing, from a page and from
/// JSON of another kind: these would be sent on as tokens, in the place of one that is good.
pub(super) fn could_be_bare(text: &str) -> bool {
    let is_begun = text.starts_with(['{', '[', '<', '"', '\'']);
    let is_word = ["null", "true", "false", "undefined"].contains(&text);
    is_of_token_characters(text) && !is_begun && !is_word
}

pub(super) fn is_of_token_characters(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What kind of body it is; never what stands in it.
pub(in crate::oauth) fn describe(answer: &Answer, confidential: &Confidential) -> String {
    let length = answer.body.len();
    match &answer.content_type {
        _ if length == 0 => "an empty body".into(),
        _ if answer.body.starts_with(GZIP) => format!("{length} bytes compressed by gzip"),
        Some(content_type) => {
            format!("{length} bytes of {}", clean(content_type, confidential))
        }
        None => format!("{length} bytes of no stated type"),
    }
}

/// Whether it is a page for people.
pub(in crate::oauth) fn is_page(answer: &Answer) -> bool {
    let kind = answer.content_type.as_deref();
    kind.is_some_and(|kind| is_media_type(kind, "text/html"))
}

/// Why something else may have come than a token.
pub(in crate::oauth) fn where_to_look(answer: &Answer) -> &'static str {
    match () {
        () if answer.body.starts_with(GZIP) => {
            "have the provider, or a proxy on the way, answer without a Content-Encoding"
        }
        () if is_page(answer) => {
            "check whether this address is a token endpoint, and whether a proxy on the way \
             answers in its place"
        }
        () => "check whether this address is a token endpoint",
    }
}

/// RFC 1952 §2.3.1. Nothing else that a provider says begins so.
const GZIP: &[u8] = b"\x1f\x8b";
