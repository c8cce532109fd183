//! What a token says about itself, where it is a JWT (RFC 7519). Nothing here is verified: it is
//! asked how long a token lives when the provider does not say, and told to people.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::token::clock::until;
use crate::wording::harmless;

/// What this machine's clock is worth against a token's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The token was handed out just now: one that is over already shows that the clock is ahead.
    Fresh,
    /// Somebody wrote it down: one that is over is over.
    Kept {
        /// How long ago.
        age: Duration,
    },
}

/// How long a token still lives by its own words. `None` if it is no JWT or does not say; zero if
/// its life is over.
///
/// That is until `exp`, and no longer than from `iat` to `exp`: a token may have lain in a cache for
/// a while, and this machine's clock may be behind. A fresh token that is over by this clock, and
/// was not issued that way, is taken at its own word.
pub fn lifetime(token: &str, clock: Clock) -> Option<Duration> {
    let claims = claims(token)?;
    let seconds = |name| {
        let seconds = claims.get(name)?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let expires = seconds("exp")?;
    let left = until(UNIX_EPOCH.checked_add(expires)?);
    Some(match seconds("iat") {
        Some(issued) if left.is_zero() && clock == Clock::Fresh => expires.saturating_sub(issued),
        Some(issued) => left.min(expires.saturating_sub(issued)),
        None => left,
    })
}

/// All that a token says, if it is a JWT.
pub fn claims(token: &str) -> Option<Map<String, Value>> {
    parts(token).and_then(|[_, payload]| decoded(payload))
}

/// What a token says about its signature, if it is a JWT.
pub fn header(token: &str) -> Option<Map<String, Value>> {
    parts(token).and_then(|[header, _]| decoded(header))
}

/// RFC 9068 §2.2.3 says `scope`, some providers `scp`.
pub fn scopes(claims: &Map<String, Value>) -> Option<Vec<String>> {
    words(claims, "scope").or_else(|| words(claims, "scp"))
}

/// The words of a text, or the texts of a list: so many, so long and so harmless that they can be
/// shown.
pub fn words(claims: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let clean = |text: &str| harmless(&text.chars().take(200).collect::<String>());
    match claims.get(name)? {
        Value::String(text) => Some(
            text.split_whitespace()
                .take(MOST_WORDS)
                .map(clean)
                .collect(),
        ),
        Value::Array(list) => {
            let texts = list.iter().filter_map(Value::as_str);
            Some(texts.take(MOST_WORDS).map(clean).collect())
        }
        _ => None,
    }
}

fn parts(token: &str) -> Option<[&str; 2]> {
    let mut parts = token.split('.');
    let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some([header, payload])
}

fn decoded(part: &str) -> Option<Map<String, Value>> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Who grants more has another way to be looked at.
const MOST_WORDS: usize = 50;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(payload: &str) -> Option<u64> {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
        lifetime(&format!("e30.{payload}.sig"), Clock::Fresh).map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn the_life_is_that_between_iat_and_exp() {
        assert_eq!(seconds(r#"{"iat":1000,"exp":4600}"#), Some(3600));
        assert_eq!(seconds(r#"{"iat":1000.25,"exp":4600.25}"#), Some(3600));
        assert_eq!(seconds(r#"{"iat":4600,"exp":1000}"#), Some(0));
        assert_eq!(seconds(r#"{"exp":1000}"#), Some(0), "over since 1970");
        assert!(seconds(r#"{"exp":32503680000}"#).unwrap() > 86_400 * 365);
    }

    #[test]
    fn a_token_from_a_cache_has_only_what_is_left() {
        // Far in the future, so that the clock does not matter: issued in 1970, ends in 3000.
        let life = seconds(r#"{"iat":0,"exp":32503680000}"#).unwrap();
        assert!(life < 32_503_680_000 - 50 * 365 * 86_400, "{life}");
    }

    #[test]
    fn what_says_nothing_says_nothing() {
        for payload in [
            r#"{"iat":1000}"#,
            r#"{"exp":"soon"}"#,
            r#"{"exp":-1}"#,
            "[]",
            "",
            "{",
        ] {
            assert_eq!(seconds(payload), None, "{payload}");
        }
        for token in ["", "opaque", "a.b", "a.b.c", "a.e30.c.d", "a.é.c"] {
            assert_eq!(lifetime(token, Clock::Fresh), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(exp in any::<f64>(), iat in any::<f64>(), rest in "[ -~]{0,60}") {
            lifetime(&rest, Clock::Kept { age: Duration::ZERO });
            seconds(&format!(r#"{{"exp":{exp},"iat":{iat}}}"#));
        }
    }
}
