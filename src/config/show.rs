//! What a configuration comes to: each credential with all that presets and defaults fill in, as it
//! would be written. A secret that stands in the configuration itself is shown as dots.

mod annotated;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Settings;
use crate::oauth::grant::TokenExchange;
use crate::oauth::transport::bare;
use crate::oauth::{
    Assertion, BodyFormat, ClientAuthentication, EndpointSettings, Flow, Grant, KeySource,
    LoginSettings, Origin, ProviderSettings, Secret, SigningAlgorithm, SigningKey, TokenLocation,
};
pub(super) use annotated::annotated;

/// A table of TOML.
pub struct Table {
    credential: String,
    lines: Vec<(String, String)>,
}

/// As it would be written.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[credentials.{}]", self.credential)?;
        for (key, value) in &self.lines {
            writeln!(f, "{key} = {value}")?;
        }
        Ok(())
    }
}

/// A string of TOML; one of JSON is always one.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Settings {
    /// Each credential as it would be written.
    pub fn credentials_in_full(&self) -> impl Iterator<Item = Table> {
        self.credentials.iter().map(|credential| {
            let mut table = Table {
                credential: credential.credential.clone(),
                lines: Vec::new(),
            };
            match &credential.origin {
                Origin::File(path) => table.file("token_file", path),
                Origin::Provider(provider) => table.provider(provider),
            }
            table.list("token_field", credential.answer.token.iter().map(place));
            let token_type = credential.answer.token_type.as_deref();
            table.text("token_type", token_type.unwrap_or("any"));
            let mut routes = self.routes.iter();
            let name = Some(credential.credential.as_str());
            if let Some(route) = routes.find(|route| route.credential.as_deref() == name) {
                table.text("header", route.token_header.as_str());
            }
            table.text("scheme", &credential.scheme);
            table.span("default_lifetime", credential.answer.default_lifetime);
            table.text("refresh_on_401", credential.refusals.refused_by.name());
            table.word(
                "refreshes_on_401_per_minute",
                credential.refusals.per_minute,
            );
            table.text_if_any("store", credential.store.as_deref());
            if let Some(per_hour) = credential.token_requests_per_hour {
                table.word("token_requests_per_hour", per_hour);
            }
            table
        })
    }
}

impl Table {
    /// What needs no quotes.
    fn word(&mut self, key: &str, value: impl fmt::Display) {
        self.lines.push((key.to_owned(), value.to_string()));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.word(key, quoted(value));
    }

    fn text_if_any(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn file(&mut self, key: &str, path: &Path) {
        self.text(key, &path.display().to_string());
    }

    fn span(&mut self, key: &str, span: Duration) {
        self.text(key, &humantime::format_duration(span).to_string());
    }

    fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<_> = values.map(|value| quoted(&value)).collect();
        match values.as_slice() {
            [] => {}
            [only] => self.word(key, only),
            several => self.word(key, format!("[{}]", several.join(", "))),
        }
    }

    fn secret(&mut self, key: &str, secret: &Secret) {
        match secret {
            Secret::Value(_) => self.text(key, DOTS),
            Secret::File(path, _) => self.file(&format!("{key}_file"), path),
        }
    }

    fn secrets<N: fmt::Display>(&mut self, key: &str, secrets: &[(N, Secret)]) {
        if secrets.is_empty() {
            return;
        }
        let pair = |(name, secret): &(N, Secret)| {
            let name = quoted(&name.to_string());
            match secret {
                Secret::Value(_) => format!("{name} = {}", quoted(DOTS)),
                Secret::File(path, _) => {
                    let path = quoted(&path.display().to_string());
                    format!("{name} = {{ file = {path} }}")
                }
            }
        };
        let pairs: Vec<_> = secrets.iter().map(pair).collect();
        self.word(key, format!("{{ {} }}", pairs.join(", ")));
    }

    fn provider(&mut self, provider: &ProviderSettings) {
        match &provider.endpoint {
            EndpointSettings::At(_) if is_implicit(&provider.grant) => {}
            EndpointSettings::At(url) => self.text("token_endpoint", &bare(url)),
            EndpointSettings::OfIssuer(url) => self.text("issuer", &bare(url)),
        }
        self.grant(&provider.grant);
        self.text_if_any("client_id", provider.client_id.as_deref());
        if provider.grant.is_oauth() {
            self.client_authentication(&provider.client_authentication);
            if let Some(previous) = &provider.previous_client_secret {
                self.secret("previous_client_secret", previous);
            }
        }
        if let Some(file) = &provider.session_file {
            self.file("session_file", file);
        }
        let request = &provider.request;
        self.text_if_any("scope", request.scope.as_deref());
        self.text_if_any("audience", request.audience.as_deref());
        self.list("resource", request.resource.iter().cloned());
        self.secrets("parameters", &request.parameters);
        self.secrets("headers", &request.headers);
        if provider.grant.is_oauth() && !is_implicit(&provider.grant) {
            let format = match request.body_format {
                BodyFormat::Form => "form",
                BodyFormat::Json => "json",
            };
            self.text("body_format", format);
        }
        if let Some(verify) = &provider.verification {
            self.text_if_any(
                "verify.jwks_uri",
                verify.key_set.as_ref().map(bare).as_deref(),
            );
            self.text_if_any("verify.issuer", verify.issuer.as_deref());
            self.list("verify.audience", verify.audience.iter().cloned());
        }
        let transport = &provider.transport;
        self.text_if_any(
            "egress_proxy",
            transport.egress_proxy.as_ref().map(bare).as_deref(),
        );
        self.span("timeout", transport.timeout);
    }

    fn grant(&mut self, grant: &Grant) {
        self.text("grant_type", grant.name());
        match grant {
            Grant::ClientCredentials => {}
            Grant::Password { username, password } | Grant::HttpBasic { username, password } => {
                self.text("username", username);
                self.secret("password", password);
            }
            Grant::RefreshToken { first } => self.secret("refresh_token", first),
            Grant::Login(login) => self.login(login),
            Grant::JwtBearer(assertion) => self.assertion(assertion),
            Grant::TokenExchange(exchange) => self.exchange(exchange),
            Grant::IdentityToolkit {
                email,
                password,
                api_key,
                refresh_endpoint,
            } => {
                self.text("username", email);
                self.secret("password", password);
                self.secret("api_key", api_key);
                self.text("refresh_endpoint", &bare(refresh_endpoint));
            }
        }
    }

    fn login(&mut self, login: &LoginSettings) {
        for (key, url) in [
            ("authorization_endpoint", &login.authorization_endpoint),
            (
                "device_authorization_endpoint",
                &login.device_authorization_endpoint,
            ),
            ("revocation_endpoint", &login.revocation_endpoint),
        ] {
            self.text_if_any(key, url.as_ref().map(bare).as_deref());
        }
        if login.flow != Flow::Device {
            self.text("redirect_uri", login.redirect_uri.as_str());
        }
        if login.flow == Flow::Implicit {
            self.text("response_type", &login.response_type);
        }
    }

    fn assertion(&mut self, assertion: &Assertion) {
        let statement = match assertion {
            Assertion::File(file) => return self.secret("assertion", file),
            Assertion::Signed(statement) => statement,
        };
        self.signing_key(&statement.key);
        self.text_if_any("assertion_issuer", statement.issuer.as_deref());
        self.text_if_any("assertion_subject", statement.subject.as_deref());
        self.text_if_any("assertion_audience", statement.audience.as_deref());
        for (name, value) in &statement.claims {
            self.text(&format!("assertion_claims.{}", quoted(name)), value);
        }
    }

    fn exchange(&mut self, exchange: &TokenExchange) {
        self.secret("subject_token", &exchange.subject_token);
        self.text("subject_token_type", &exchange.subject_token_type);
        if let Some((token, kind)) = &exchange.actor {
            self.secret("actor_token", token);
            self.text("actor_token_type", kind);
        }
        self.text_if_any(
            "requested_token_type",
            exchange.requested_token_type.as_deref(),
        );
    }

    fn client_authentication(&mut self, authentication: &ClientAuthentication) {
        self.text("token_endpoint_auth_method", authentication.name());
        match authentication {
            ClientAuthentication::SecretBasic(secret)
            | ClientAuthentication::SecretBasicRaw(secret)
            | ClientAuthentication::SecretPost(secret) => self.secret("client_secret", secret),
            ClientAuthentication::SecretJwt { secret, audience } => {
                self.secret("client_secret", secret);
                self.text_if_any("assertion_audience", audience.as_deref());
            }
            ClientAuthentication::PrivateKeyJwt { key, audience } => {
                self.signing_key(key);
                self.text_if_any("assertion_audience", audience.as_deref());
            }
            ClientAuthentication::AssertionFile { file, kind } => {
                self.secret("client_assertion", file);
                self.text("client_assertion_type", kind);
            }
            ClientAuthentication::Certificate | ClientAuthentication::Nothing => {}
        }
    }

    fn signing_key(&mut self, key: &SigningKey) {
        match &key.key {
            KeySource::Pem(secret) => self.secret("private_key", secret),
            KeySource::ServiceAccount(secret) => self.secret("service_account", secret),
        }
        self.text_if_any("private_key_id", key.key_id.as_deref());
        self.text_if_any(
            "signing_algorithm",
            key.algorithm.map(SigningAlgorithm::name),
        );
    }
}

/// It has no token endpoint.
fn is_implicit(grant: &Grant) -> bool {
    matches!(grant, Grant::Login(login) if login.flow == Flow::Implicit)
}

fn place(location: &TokenLocation) -> String {
    match location {
        TokenLocation::Json(pointer) => match pointer.strip_prefix('/') {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => pointer.clone(),
        },
        TokenLocation::WholeBody => ".".into(),
    }
}

const DOTS: &str = "•••";
