//! What the token at hand says of itself, as far as it may be shown: who issued it, for whom, and what
//! it is good for. Nothing of it is verified, and the token itself is no part of it.

use http::HeaderValue;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::oauth::jwt_claims;

/// Of a token that is no JWT there is nothing to tell but that.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Claims {
    pub(super) form: Form,
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
    pub(super) scopes: Vec<String>,
    /// Whom it is about, where the configuration allows to show that: it may be a person.
    pub(super) subject: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    Jwt,
    /// Only its provider can tell what it says.
    Opaque,
}

/// Of the token in a header field's value.
pub(super) fn of(header: &HeaderValue, show_subject: bool) -> Claims {
    // The scheme goes before it, if there is one.
    let value = header.to_str().unwrap_or_default();
    let token = value.rsplit(' ').next().unwrap_or_default();
    let claims = jwt_claims::claims(token);
    let form = match claims {
        Some(_) => Form::Jwt,
        None => Form::Opaque,
    };
    let claims = claims.unwrap_or_default();
    Claims {
        form,
        issuer: text(&claims, "iss"),
        audience: jwt_claims::words(&claims, "aud").unwrap_or_default(),
        scopes: jwt_claims::scopes(&claims).unwrap_or_default(),
        subject: text(&claims, "sub").filter(|_| show_subject),
    }
}

fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let words = jwt_claims::words(claims, name)?;
    Some(words.join(" ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(scheme: &str, payload: &str) -> HeaderValue {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
        HeaderValue::try_from(format!("{scheme}e30.{payload}.sig")).unwrap()
    }

    const PAYLOAD: &str = r#"{"iss":"https://id.example","aud":["a","b"],"scp":["read","write"],
        "sub":"driver@example.com","email":"driver@example.com"}"#;

    #[test]
    fn what_is_told_is_whose_it_is_and_what_for() {
        for scheme in ["Bearer ", ""] {
            let claims = of(&jwt(scheme, PAYLOAD), false);
            assert_eq!(claims.form, Form::Jwt);
            assert_eq!(claims.issuer.as_deref(), Some("https://id.example"));
            assert_eq!(claims.audience, ["a", "b"]);
            assert_eq!(claims.scopes, ["read", "write"]);
            assert_eq!(claims.subject, None);
        }
    }

    #[test]
    fn whom_it_is_about_is_told_if_allowed_and_nothing_else() {
        let told = serde_json::to_string(&of(&jwt("", PAYLOAD), true)).unwrap();
        assert!(told.contains(r#""subject":"driver@example.com""#), "{told}");
        assert!(!told.contains("email"), "{told}");
    }

    #[test]
    fn an_opaque_token_is_called_so_and_not_shown() {
        let told = serde_json::to_string(&of(&HeaderValue::from_static("Bearer canary"), true));
        let expected =
            r#"{"form":"opaque","issuer":null,"audience":[],"scopes":[],"subject":null}"#;
        assert_eq!(told.unwrap(), expected);
    }
}
