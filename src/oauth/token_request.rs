//! What is sent to the token endpoint.

use std::fmt;

use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::Settings;

/// How the parameters of a request are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`, as RFC 6749 has it.
    #[default]
    Form,
    /// A JSON object, as some providers want it.
    Json,
}

/// What is read from where it is kept for one request.
pub(super) struct Secrets {
    pub(super) client: SecretString,
    pub(super) parameters: Vec<(String, SecretString)>,
    pub(super) headers: Vec<(HeaderName, SecretString)>,
}

/// A token request, ready to be sent.
pub struct TokenRequest {
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
    /// Strings that must not be shown even if the provider's answer repeats them.
    pub confidential: Vec<String>,
}

/// Shows nothing: what there is to see is secret.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").finish_non_exhaustive()
    }
}

/// A token request in the making.
pub(super) struct Draft {
    parameters: Vec<(String, String)>,
    authorization: Option<HeaderValue>,
    confidential: Vec<String>,
}

impl Draft {
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn authorization(&mut self, mut value: HeaderValue) {
        value.set_sensitive(true);
        self.authorization = Some(value);
    }

    /// A secret is not to be shown, neither as it is nor as it stands in a form.
    pub(super) fn secret(&mut self, secret: &str) {
        self.confidential.push(secret.to_owned());
        self.confidential.push(encode(secret));
    }

    pub(super) fn confidential(&mut self, text: impl Into<String>) {
        self.confidential.push(text.into());
    }
}

/// The request of the client credentials grant (RFC 6749 §4.4.2).
///
/// Parameters that have no value are left out: some providers refuse an empty `scope`.
///
/// # Errors
///
/// The value of one of the further fields cannot stand in a head.
pub(super) fn client_credentials(
    settings: &Settings,
    secrets: &Secrets,
) -> Result<TokenRequest, UnusableHeader> {
    let mut draft = Draft {
        parameters: Vec::new(),
        authorization: None,
        confidential: Vec::new(),
    };
    draft.parameter("grant_type", "client_credentials");
    if let Some(scope) = &settings.scope {
        draft.parameter("scope", scope);
    }
    if let Some(audience) = &settings.audience {
        draft.parameter("audience", audience);
    }
    for resource in &settings.resource {
        draft.parameter("resource", resource);
    }
    for (name, value) in &secrets.parameters {
        draft.parameter(name, value.expose_secret());
        draft.secret(value.expose_secret());
    }
    settings
        .client_authentication
        .prove(&mut draft, &settings.client_id, &secrets.client);
    finish(draft, settings.body_format, &secrets.headers)
}

fn finish(
    mut draft: Draft,
    format: BodyFormat,
    further: &[(HeaderName, SecretString)],
) -> Result<TokenRequest, UnusableHeader> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let (content_type, body) = match format {
        BodyFormat::Form => ("application/x-www-form-urlencoded", form(&draft.parameters)),
        BodyFormat::Json => ("application/json", json(&draft.parameters)),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in further {
        let mut field = HeaderValue::from_str(value.expose_secret())
            .map_err(|error| UnusableHeader(name.clone(), error))?;
        field.set_sensitive(true);
        headers.insert(name.clone(), field);
        draft.confidential(value.expose_secret());
    }
    if let Some(authorization) = draft.authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    let mut confidential = draft.confidential;
    confidential.retain(|text| text.len() >= LEAST_SECRET);
    // The longest first: blotting out a part of a longer one would leave the rest of it.
    confidential.sort_by_key(|text| std::cmp::Reverse(text.len()));
    Ok(TokenRequest {
        headers,
        body,
        confidential,
    })
}

/// As Appendix B of RFC 6749 has it.
pub(super) fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

fn form(parameters: &[(String, String)]) -> String {
    Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
}

/// A parameter that is repeated becomes a list.
fn json(parameters: &[(String, String)]) -> String {
    let mut object = Map::new();
    for (name, value) in parameters {
        let value = Value::from(value.as_str());
        match object.get_mut(name) {
            None => drop(object.insert(name.clone(), value)),
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(object).to_string()
}

/// A value that cannot stand in the head of a request.
#[derive(Debug, thiserror::Error)]
#[error(
    "the value for the field {0} cannot be sent: it holds a line break or the like; check headers"
)]
pub(super) struct UnusableHeader(HeaderName, #[source] InvalidHeaderValue);

/// Parameters that gatepass sets itself (RFC 6749, 7521, 8693, 8707) and that no further ones can
/// override.
pub const RESERVED_PARAMETERS: [&str; 19] = [
    "actor_token",
    "actor_token_type",
    "assertion",
    "audience",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token",
    "username",
];

/// Blotting out shorter ones would make nonsense of a provider's words.
const LEAST_SECRET: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oauth::{ClientAuthentication, Secret, TokenLocation};
    use crate::tls;
    use crate::token::RefusalSettings;

    fn settings(authentication: ClientAuthentication) -> Settings {
        Settings {
            credential: "envase".into(),
            token_endpoint: "https://id.example/token".parse().unwrap(),
            client_id: "the app".into(),
            client_secret: Secret::Value("p+q %/=&".into()),
            client_authentication: authentication,
            scope: None,
            audience: None,
            resource: Vec::new(),
            parameters: Vec::new(),
            headers: Vec::new(),
            body_format: BodyFormat::Form,
            token_location: TokenLocation::default(),
            scheme: "Bearer".into(),
            default_lifetime: Duration::from_secs(300),
            timeout: Duration::from_secs(10),
            refusals: RefusalSettings::default(),
            tls: tls::client_config(&tls::Trust::Nobody).unwrap(),
        }
    }

    fn secrets() -> Secrets {
        Secrets {
            client: "p+q %/=&".into(),
            parameters: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With every option set at once.
    fn everything(authentication: ClientAuthentication, format: BodyFormat) -> String {
        let settings = Settings {
            scope: Some("a/b c:d".into()),
            audience: Some("https://api.example/v1".into()),
            resource: vec!["https://one.example".into(), "https://two.example".into()],
            body_format: format,
            ..settings(authentication)
        };
        let secrets = Secrets {
            parameters: vec![("tenant".into(), "t&1".into())],
            headers: vec![
                (ACCEPT, "application/json; version=2".into()),
                (HeaderName::from_static("x-api-key"), "canary".into()),
            ],
            ..secrets()
        };
        let request = client_credentials(&settings, &secrets).unwrap();
        let mut lines: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines.push(request.body);
        lines.join("\n")
    }

    #[test]
    fn every_option_at_once() {
        use ClientAuthentication::{SecretBasic, SecretBasicRaw, SecretPost};
        let all = [
            everything(SecretBasic, BodyFormat::Form),
            everything(SecretBasicRaw, BodyFormat::Form),
            everything(SecretPost, BodyFormat::Form),
            everything(SecretBasic, BodyFormat::Json),
            everything(SecretPost, BodyFormat::Json),
        ];
        insta::assert_snapshot!(all.join("\n\n"), @r#"
        accept: application/json; version=2
        authorization: Basic dGhlK2FwcDpwJTJCcSslMjUlMkYlM0QlMjY=
        content-type: application/x-www-form-urlencoded
        x-api-key: canary
        grant_type=client_credentials&scope=a%2Fb+c%3Ad&audience=https%3A%2F%2Fapi.example%2Fv1&resource=https%3A%2F%2Fone.example&resource=https%3A%2F%2Ftwo.example&tenant=t%261

        accept: application/json; version=2
        authorization: Basic dGhlIGFwcDpwK3EgJS89Jg==
        content-type: application/x-www-form-urlencoded
        x-api-key: canary
        grant_type=client_credentials&scope=a%2Fb+c%3Ad&audience=https%3A%2F%2Fapi.example%2Fv1&resource=https%3A%2F%2Fone.example&resource=https%3A%2F%2Ftwo.example&tenant=t%261

        accept: application/json; version=2
        content-type: application/x-www-form-urlencoded
        x-api-key: canary
        grant_type=client_credentials&scope=a%2Fb+c%3Ad&audience=https%3A%2F%2Fapi.example%2Fv1&resource=https%3A%2F%2Fone.example&resource=https%3A%2F%2Ftwo.example&tenant=t%261&client_id=the+app&client_secret=p%2Bq+%25%2F%3D%26

        accept: application/json; version=2
        authorization: Basic dGhlK2FwcDpwJTJCcSslMjUlMkYlM0QlMjY=
        content-type: application/json
        x-api-key: canary
        {"audience":"https://api.example/v1","grant_type":"client_credentials","resource":["https://one.example","https://two.example"],"scope":"a/b c:d","tenant":"t&1"}

        accept: application/json; version=2
        content-type: application/json
        x-api-key: canary
        {"audience":"https://api.example/v1","client_id":"the app","client_secret":"p+q %/=&","grant_type":"client_credentials","resource":["https://one.example","https://two.example"],"scope":"a/b c:d","tenant":"t&1"}
        "#);
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let settings = settings(ClientAuthentication::SecretBasic);
        let request = client_credentials(&settings, &secrets()).unwrap();
        assert_eq!(request.body, "grant_type=client_credentials");
        assert!(request.headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn a_value_that_breaks_the_head_is_named_and_not_shown() {
        let settings = settings(ClientAuthentication::SecretBasic);
        let secrets = Secrets {
            headers: vec![(ACCEPT, "canary\r\nX: y".into())],
            ..secrets()
        };
        let error = client_credentials(&settings, &secrets)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the field accept"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}
