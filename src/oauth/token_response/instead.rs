//! What is said with a status of success in the place of a token.
//!
//! Some providers say all their noes so. Taken for an answer that is broken on the way, which is asked for
//! again within seconds, it would have a wrong password shown a dozen times a minute until the user is
//! locked out, and a refresh token that is over would never lead back to the password.

use serde_json::{Map, Value};

use super::body::{bare_token, is_of_token_characters};
use super::{TokenLocation, wanted};
use crate::oauth::AnswerSettings;
use crate::oauth::refusal::explanation;
use crate::oauth::token_response::clean;
use crate::oauth::transport::Answer;
use crate::token::source::{FailureKind, FetchError};
use crate::wording::Confidential;

/// What is said there, if it is no token and not nothing. The message continues a sentence whose subject is
/// the token endpoint.
pub(super) fn instead_of_a_token(
    answer: &Answer,
    fields: Option<&Map<String, Value>>,
    settings: &AnswerSettings,
    confidential: &Confidential,
) -> Option<FetchError> {
    match fields {
        Some(fields) => other_fields(fields, settings, confidential),
        None if settings.token.contains(&TokenLocation::WholeBody) => words(answer, confidential),
        None => None,
    }
}

fn other_fields(
    fields: &Map<String, Value>,
    settings: &AnswerSettings,
    confidential: &Confidential,
) -> Option<FetchError> {
    let whole = Value::Object(fields.clone());
    let has_one = settings.token.iter().any(|place| match place {
        TokenLocation::Json(pointer) => whole.pointer(pointer).is_some_and(|it| !it.is_null()),
        TokenLocation::WholeBody => false,
    });
    let filled = fields.iter().filter(|(_, value)| !value.is_null());
    let names = filled.map(|(name, _)| name.as_str());
    let names: Vec<_> = names
        .filter(|name| is_name(name))
        .take(MOST_NAMES)
        .collect();
    if has_one || names.is_empty() {
        return None;
    }
    let names = clean(&names.join(", "), confidential);
    let message = format!("answered without {}, but with {names}", wanted(settings));
    Some(match explanation(fields, confidential) {
        Some(said) if is_in_words(&said) => {
            refused(format!("{message}, and says \"{said}\"")).advise(BY_WHAT_IT_SAYS)
        }
        _ => refused(message).advise(CHECK_TOKEN_FIELD),
    })
}

/// `Unauthorized` as all of a text would be sent on as a token, in the place of one that is good.
fn words(answer: &Answer, confidential: &Confidential) -> Option<FetchError> {
    let text = bare_token(answer);
    if text == "null" || !is_in_words(&text) {
        return None;
    }
    let said = clean(&text, confidential);
    let message = format!("answered \"{said}\" instead of a bare token");
    Some(refused(message).advise(BY_WHAT_IT_SAYS))
}

/// Whether no token can stand in it. One of so few characters that are letters alone is rarer than a server
/// that says its no in one word.
fn is_in_words(text: &str) -> bool {
    let words: Vec<_> = text.split_whitespace().collect();
    let could_be_one = |word: &str| {
        let is_begun = word.starts_with(['{', '[', '<', '"', '\'']);
        word.len() < SHORTEST_TOKEN && is_of_token_characters(word) && !is_begun
    };
    let is_said = match words.as_slice() {
        [word] => {
            let is_letter = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
            let bare = word.trim_end_matches(['.', '!']);
            bare.len() >= SHORTEST_WORD && bare.bytes().all(is_letter)
        }
        [first, ..] => !first.eq_ignore_ascii_case("bearer"),
        [] => false,
    };
    is_said && words.into_iter().all(could_be_one)
}

/// Whether it is the name of a field, and not one of the keys of a table of tokens.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

fn refused(message: String) -> FetchError {
    FailureKind::Refused.because(message)
}

const BY_WHAT_IT_SAYS: &str = "go by what it says; if that is no refusal, check token_field";
pub(super) const CHECK_TOKEN_FIELD: &str =
    "check token_field, and whether this address is a token endpoint";

const SHORTEST_WORD: usize = 4;
const SHORTEST_TOKEN: usize = 20;
const LONGEST_NAME: usize = 32;
const MOST_NAMES: usize = 8;
