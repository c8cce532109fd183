//! What is sent to the token endpoint.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use super::secret::Secret;
use super::{ProviderSettings, RequestSettings};
use crate::token::source::{FailureKind, FetchError};
use crate::wording::Confidential;

/// How the parameters of a request are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`, as RFC 6749 has it.
    #[default]
    Form,
    /// A JSON object, as some providers want it.
    Json,
}

/// A token request, ready to be sent.
pub struct TokenRequest {
    /// Where to.
    pub url: Url,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
    /// Strings that must not be shown even if the provider's answer repeats them.
    pub confidential: Confidential,
}

/// Shows nothing: what there is to see is secret.
impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").finish_non_exhaustive()
    }
}

/// The request that signs in at `endpoint`.
///
/// Parameters that have no value are left out: some providers refuse an empty `scope`.
///
/// # Errors
///
/// A secret cannot be read, or cannot be used.
pub(super) async fn sign_in(
    provider: &ProviderSettings,
    endpoint: &Url,
) -> Result<TokenRequest, FetchError> {
    let mut draft = Draft::new(endpoint.clone(), provider.request.body_format);
    provider.grant.sign_in(provider, &mut draft).await?;
    draft.targets(provider);
    draft.finish(provider).await
}

/// The request with a refresh token (RFC 6749 §6).
///
/// # Errors
///
/// As [`sign_in`].
pub(super) async fn refresh(
    provider: &ProviderSettings,
    endpoint: &Url,
    refresh_token: &SecretString,
) -> Result<TokenRequest, FetchError> {
    let endpoint = provider.grant.refresh_endpoint().unwrap_or(endpoint);
    let mut draft = Draft::new(endpoint.clone(), provider.request.body_format);
    provider.grant.refresh(&mut draft).await?;
    draft.parameter("grant_type", "refresh_token");
    draft.secret(refresh_token.expose_secret());
    draft.parameter("refresh_token", refresh_token.expose_secret());
    if provider.grant.names_scope_with_refresh_tokens() {
        draft.targets(provider);
    }
    draft.finish(provider).await
}

/// A request with these parameters, some of which are secrets, and the client's proof of who it is.
///
/// # Errors
///
/// As [`sign_in`].
pub(super) async fn with_parameters(
    provider: &ProviderSettings,
    endpoint: &Url,
    parameters: &[(&str, &str)],
    secrets: &[(&str, &str)],
) -> Result<TokenRequest, FetchError> {
    let mut draft = Draft::new(endpoint.clone(), provider.request.body_format);
    for (name, value) in parameters {
        draft.parameter(name, value);
    }
    for (name, value) in secrets {
        draft.secret(value);
        draft.parameter(name, value);
    }
    draft.finish(provider).await
}

/// A token request in the making.
pub(super) struct Draft {
    url: Url,
    format: BodyFormat,
    parameters: Vec<(String, Value)>,
    authorization: Option<HeaderValue>,
    confidential: Confidential,
}

impl Draft {
    fn new(url: Url, format: BodyFormat) -> Self {
        Self {
            url,
            format,
            parameters: Vec::new(),
            authorization: None,
            confidential: Confidential::default(),
        }
    }

    /// Where it goes, as statements name whom they are meant for.
    pub(super) fn endpoint(&self) -> String {
        self.url.to_string()
    }

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.parameters.push((name.to_owned(), value.into()));
    }

    /// A parameter that is simply true.
    pub(super) fn flag(&mut self, name: &str) {
        self.parameters.push((name.to_owned(), true.into()));
    }

    /// Reads a secret for this request. Read at each use: one that was rotated in its file is found
    /// without a restart.
    pub(super) async fn read(&mut self, secret: &Secret) -> Result<String, FetchError> {
        let value = read(secret).await?;
        self.secret(&value);
        Ok(value)
    }

    pub(super) async fn secret_parameter(
        &mut self,
        name: &str,
        secret: &Secret,
    ) -> Result<(), FetchError> {
        let value = self.read(secret).await?;
        self.parameter(name, &value);
        Ok(())
    }

    /// Puts a secret into the address.
    pub(super) async fn query(&mut self, name: &str, secret: &Secret) -> Result<(), FetchError> {
        let value = self.read(secret).await?;
        self.url.query_pairs_mut().append_pair(name, &value);
        Ok(())
    }

    /// Whatever is usual otherwise, this request has a JSON body.
    pub(super) fn write_json(&mut self) {
        self.format = BodyFormat::Json;
    }

    /// HTTP Basic with this pair of name and password, in Base64.
    pub(super) fn authorize_basic(&mut self, pair: String) {
        // Base64 has no character that a header could not hold.
        if let Ok(mut value) = HeaderValue::try_from(format!("Basic {pair}")) {
            value.set_sensitive(true);
            self.authorization = Some(value);
        }
        self.confidential.add(pair);
    }

    /// A secret is not to be shown, neither as it is nor as it stands in a form.
    pub(super) fn secret(&mut self, secret: &str) {
        self.confidential.add(secret);
        self.confidential.add(encode(secret));
        self.confidential.add(BASE64_STANDARD.encode(secret));
    }

    /// What the token is to be good for.
    fn targets(&mut self, provider: &ProviderSettings) {
        let RequestSettings {
            scope,
            audience,
            resource,
            ..
        } = &provider.request;
        let scope = scope.as_ref().filter(|_| !provider.grant.states_scope());
        if let Some(scope) = scope {
            self.parameter("scope", scope);
        }
        if let Some(audience) = audience {
            self.parameter("audience", audience);
        }
        for resource in resource {
            self.parameter("resource", resource);
        }
    }

    async fn finish(mut self, provider: &ProviderSettings) -> Result<TokenRequest, FetchError> {
        for (name, value) in &provider.request.parameters {
            self.secret_parameter(name, value).await?;
        }
        if provider.grant.is_oauth() {
            let client_id = provider.client_id.as_deref();
            let authentication = &provider.client_authentication;
            authentication.prove(client_id, &mut self).await?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = match self.format {
            _ if self.parameters.is_empty() => String::new(),
            BodyFormat::Form => form(&self.parameters),
            BodyFormat::Json => json(&self.parameters),
        };
        if body.is_empty() {
            // RFC 9110 §8.6 has a POST say so; some servers answer 411 otherwise.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        } else {
            let content_type = match self.format {
                BodyFormat::Form => "application/x-www-form-urlencoded",
                BodyFormat::Json => "application/json",
            };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in &provider.request.headers {
            // `Accept` is what providers may well repeat, and no place for a secret.
            let value = match *name {
                ACCEPT => read(value).await?,
                _ => self.read(value).await?,
            };
            headers.insert(name.clone(), header_value(name, &value)?);
        }
        if let Some(authorization) = self.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(TokenRequest {
            url: self.url,
            headers,
            body,
            confidential: self.confidential,
        })
    }
}

async fn read(secret: &Secret) -> Result<String, FetchError> {
    let value = secret.read().await.map_err(|error| {
        misconfigured(format!("cannot ask for a token: {error}"))
            .advise("check the file that the configuration names")
    })?;
    Ok(value.expose_secret().to_owned())
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, FetchError> {
    let mut field = HeaderValue::from_str(value).map_err(|_| {
        misconfigured(format!(
            "cannot ask for a token: the value for the field {name} cannot be sent, because it \
             holds a line break or the like"
        ))
        .advise("check headers")
    })?;
    field.set_sensitive(true);
    Ok(field)
}

/// As Appendix B of RFC 6749 has it.
pub(super) fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

fn form(parameters: &[(String, Value)]) -> String {
    let mut form = Serializer::new(String::new());
    for (name, value) in parameters {
        match value {
            Value::String(text) => form.append_pair(name, text),
            other => form.append_pair(name, &other.to_string()),
        };
    }
    form.finish()
}

/// A parameter that is repeated becomes a list.
fn json(parameters: &[(String, Value)]) -> String {
    let mut object = Map::new();
    for (name, value) in parameters {
        match object.get_mut(name) {
            None => drop(object.insert(name.clone(), value.clone())),
            Some(Value::Array(list)) => list.push(value.clone()),
            Some(first) => *first = Value::Array(vec![first.take(), value.clone()]),
        }
    }
    Value::Object(object).to_string()
}

fn misconfigured(message: String) -> FetchError {
    FailureKind::Misconfigured.because(message).before_asking()
}

/// Parameters that gatepass sets itself (RFC 6749, 7521, 8693, 8707) and that no further ones can
/// override.
pub const RESERVED_PARAMETERS: [&str; 21] = [
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
    "device_code",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token",
    "subject_token_type",
    "username",
];

#[cfg(test)]
mod tests;
