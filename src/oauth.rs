//! The client of RFC 6749: how a token is asked for, and how the answer is read.
//!
//! [`token_request`] and [`token_response`] are pure; [`token_endpoint`] makes the one HTTP call
//! between them. What they add up to is a [`TokenSource`].

pub mod client_authentication;
mod jwt_claims;
mod retry_after;
pub mod secret;
pub mod token_endpoint;
pub mod token_request;
pub mod token_response;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls::ClientConfig;
use secrecy::SecretString;
use tokio::time::timeout;
use url::Url;

use crate::token::RefusalSettings;
use crate::token::source::{FailureKind, FetchError, FetchFuture, FetchedToken, TokenSource};
pub use client_authentication::ClientAuthentication;
pub use secret::Secret;
use token_endpoint::TokenEndpoint;
use token_request::Secrets;
pub use token_request::{BodyFormat, RESERVED_PARAMETERS};
pub use token_response::TokenLocation;

/// All that is needed to get a token by client credentials (RFC 6749 §4.4).
#[derive(Debug, Clone)]
pub struct Settings {
    /// The credential's name in the configuration.
    pub credential: String,
    /// Where tokens are asked for. `https`, or `http` on loopback.
    pub token_endpoint: Url,
    /// The client's identifier.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// How the client proves who it is.
    pub client_authentication: ClientAuthentication,
    /// The scope that is asked for, as it is sent; the provider's default if there is none.
    pub scope: Option<String>,
    /// The service that the token is meant for, where the provider wants to know.
    pub audience: Option<String>,
    /// The same by RFC 8707: the addresses of the resources, each a parameter of its own.
    pub resource: Vec<String>,
    /// Further parameters; none of them is one that gatepass sets itself.
    pub parameters: Vec<(String, Secret)>,
    /// Fields of the request's head beside those of HTTP and of client authentication.
    pub headers: Vec<(HeaderName, Secret)>,
    /// How the parameters are written.
    pub body_format: BodyFormat,
    /// Where the token stands in the answer.
    pub token_location: TokenLocation,
    /// The word before the token in the header; empty for none.
    pub scheme: String,
    /// How long a token is taken to live when the answer does not say.
    pub default_lifetime: Duration,
    /// How long one request may take, from the name look-up to the last byte of the answer.
    pub timeout: Duration,
    /// What a 401 of an upstream does to the token.
    pub refusals: RefusalSettings,
    /// Whom to trust at the token endpoint.
    pub tls: Arc<ClientConfig>,
}

/// Gets tokens by client credentials.
#[derive(Debug)]
pub struct ClientCredentials {
    settings: Settings,
    endpoint: TokenEndpoint,
}

impl ClientCredentials {
    /// Prepares the way to the token endpoint; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The HTTP client could not be set up.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let endpoint = TokenEndpoint::new(
            settings.token_endpoint.clone(),
            settings.timeout,
            &settings.tls,
        )?;
        Ok(Self { settings, endpoint })
    }

    async fn ask(&self) -> Result<FetchedToken, FetchError> {
        let settings = &self.settings;
        let secrets = Secrets {
            client: read(&settings.client_secret).await?,
            parameters: read_all(&settings.parameters).await?,
            headers: read_all(&settings.headers).await?,
        };
        let request = token_request::client_credentials(settings, &secrets)
            .map_err(|error| FetchError::new(FailureKind::Misconfigured, error.to_string()))?;
        let answer = self.endpoint.post(&request).await?;
        let received = token_response::read(
            &answer,
            &settings.token_location,
            settings.default_lifetime,
            &request.confidential,
        )
        .map_err(|error| self.endpoint.named(error))?;
        Ok(FetchedToken {
            secret: received.secret,
            scheme: settings.scheme.clone(),
            lifetime: received.lifetime,
            refresh_in: received.refresh_in,
        })
    }
}

/// Read at each use: a secret that was rotated in its file is found without a restart.
async fn read(secret: &Secret) -> Result<SecretString, FetchError> {
    secret.read().await.map_err(|error| {
        FetchError::new(
            FailureKind::Misconfigured,
            format!("cannot ask for a token: {error}; check the file that the configuration names"),
        )
    })
}

async fn read_all<N: Clone>(secrets: &[(N, Secret)]) -> Result<Vec<(N, SecretString)>, FetchError> {
    let mut values = Vec::new();
    for (name, secret) in secrets {
        values.push((name.clone(), read(secret).await?));
    }
    Ok(values)
}

impl TokenSource for ClientCredentials {
    fn fetch(&self) -> FetchFuture<'_> {
        Box::pin(async {
            // The HTTP client has the same limit for its part. This one covers the rest: a secret
            // file on a file system that has gone away may never be read.
            let attempt = timeout(self.settings.timeout, self.ask()).await;
            attempt.unwrap_or_else(|_| Err(self.endpoint.too_late()))
        })
    }
}
