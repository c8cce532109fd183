//! A person logs in: authorization code with PKCE (RFC 7636, RFC 8252), implicit (RFC 6749 §4.2), and
//! on another device (RFC 8628). What comes of it is left in a store, where the credential's own
//! refreshes begin.

mod authorization;
mod device;

use std::rc::Rc;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::client::Client;
use super::session::identity;
use super::token_response::ReceivedToken;
use super::transport::{Answer, Peer};
use super::{
    Grant, Origin, ProviderSettings, Settings, jwt_claims, sharing, token_request, token_response,
};
use crate::store::{Entry, SavedSession, Stores};
use crate::token::source::{FailureKind, FetchError, FetchedToken};
use crate::wording::Confidential;
pub use authorization::{Authorization, Returned};
pub use device::DeviceAuthorization;

/// How people log in.
#[derive(Debug, Clone)]
pub struct LoginSettings {
    /// In which way.
    pub flow: Flow,
    /// Where a browser is sent; where the provider's metadata says if nothing stands here.
    pub authorization_endpoint: Option<Url>,
    /// Where a login on another device begins; likewise.
    pub device_authorization_endpoint: Option<Url>,
    /// Where refresh tokens are taken back; likewise.
    pub revocation_endpoint: Option<Url>,
    /// Where the browser is sent back to, on this machine; on any port if it names none.
    pub redirect_uri: Url,
    /// What is asked for in a login without a code.
    pub response_type: String,
}

/// The ways to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Authorization code with PKCE.
    Code,
    /// On another device.
    Device,
    /// Tokens in the address that the browser is sent back to.
    Implicit,
}

impl Flow {
    /// Its name in a configuration (`grant_type`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "authorization_code",
            Self::Device => "device_code",
            Self::Implicit => "implicit",
        }
    }
}

/// A login to one credential's provider, and the place where its session is kept.
pub struct Login {
    client: Client,
    settings: LoginSettings,
    entry: Rc<Entry>,
}

/// What a login has brought.
#[derive(Debug)]
pub struct Outcome {
    /// The token, for those who want to say how long it lives.
    pub token: FetchedToken,
    /// Whether there is a refresh token, so that nobody has to log in soon.
    pub is_lasting: bool,
}

impl Login {
    /// Prepares a login. `None` if nobody logs in to this credential.
    ///
    /// # Errors
    ///
    /// The HTTP client could not be set up.
    pub fn new(settings: &Settings, stores: &Stores) -> Result<Option<Self>, reqwest::Error> {
        let Origin::Provider(provider) = &settings.origin else {
            return Ok(None);
        };
        let Grant::Login(login) = &provider.grant else {
            return Ok(None);
        };
        let metrics = stores.metrics(&settings.credential, None);
        let Some(entry) = sharing::entry(settings, stores, metrics) else {
            return Ok(None);
        };
        let client = Client::new(
            settings.credential.clone(),
            (**provider).clone(),
            settings.answer.clone(),
            settings.scheme.clone(),
            None,
        )?;
        Ok(Some(Self {
            client,
            settings: (**login).clone(),
            entry,
        }))
    }

    /// How people log in.
    pub fn settings(&self) -> &LoginSettings {
        &self.settings
    }

    /// Whether the session could be kept. Asked before somebody logs in for nothing.
    ///
    /// # Errors
    ///
    /// It could not.
    pub async fn check_store(&self) -> Result<(), FetchError> {
        self.entry.check().await.map_err(|error| {
            let (why, next) = error.parts();
            let message = format!("its session could not be kept: {why}");
            FailureKind::Unavailable.because(message).advise(next)
        })
    }

    /// Whether the provider says that one can log in on another device.
    pub async fn knows_devices(&self) -> bool {
        self.device_endpoint().await.is_ok()
    }

    /// Turns what the browser came back with into a session.
    ///
    /// # Errors
    ///
    /// The provider refuses, or what it hands out is not what was asked for.
    pub async fn redeem(
        &self,
        authorization: &Authorization,
        fields: &[(String, String)],
    ) -> Result<Outcome, FetchError> {
        let asked = Instant::now();
        let (answer, confidential) = match self.settings.flow {
            Flow::Implicit => (authorization::in_a_form(fields), Confidential::default()),
            Flow::Code | Flow::Device => {
                let code = fields.iter().find(|(name, _)| name == "code");
                let code = code.map(|(_, code)| code.as_str()).ok_or_else(|| {
                    FailureKind::Malformed
                        .because("the browser came back without a code")
                        .advise("check authorization_endpoint")
                })?;
                let verifier = authorization.verifier.expose_secret();
                let parameters = [
                    ("grant_type", "authorization_code"),
                    ("redirect_uri", authorization.redirect_uri.as_str()),
                ];
                let secrets = [("code", code), ("code_verifier", verifier)];
                self.post(&parameters, &secrets).await?
            }
        };
        self.check_id_token(&answer, authorization)?;
        let received = self.read(&answer, &confidential)?;
        self.keep(received, asked).await
    }

    /// Takes the session back, at the provider's and here. `Ok(false)` if there was none.
    ///
    /// # Errors
    ///
    /// The store does not answer; or the provider does not take the refresh token back, which is
    /// forgotten nevertheless.
    pub async fn log_out(&self) -> Result<bool, FetchError> {
        let unavailable =
            |error| FailureKind::Unavailable.because(format!("cannot log out: {error}"));
        let Some(refresh_token) = self.entry.clear().await.map_err(unavailable)? else {
            return Ok(false);
        };
        let endpoint = match &self.settings.revocation_endpoint {
            Some(url) => Some(url.clone()),
            None => {
                let metadata = self.client.metadata().await?;
                metadata.and_then(|metadata| metadata.revocation_endpoint())
            }
        };
        let Some(endpoint) = endpoint else {
            return Err(FailureKind::Misconfigured
                .because(
                    "the session is forgotten here, but nobody says where the provider takes refresh \
                     tokens back",
                )
                .advise("set revocation_endpoint, or end it at the provider's"));
        };
        let hint = [("token_type_hint", "refresh_token")];
        let secret = [("token", refresh_token.expose_secret())];
        let request =
            token_request::with_parameters(self.provider(), &endpoint, &hint, &secret).await?;
        let peer = Peer::revocation(&endpoint);
        let answer = self.client.transport.post(&peer, &request).await?;
        if answer.status.is_success() {
            return Ok(true);
        }
        let status = answer.status.as_u16();
        Err(peer.named(FailureKind::Refused
            .because(format!(
                "answered {status}: the session is forgotten here, and goes on there until it runs out"
            ))
            .advise("end it at the provider's")))
    }

    fn provider(&self) -> &ProviderSettings {
        &self.client.provider
    }

    /// Asks the token endpoint; what must not be shown comes with the answer.
    async fn post(
        &self,
        parameters: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Result<(Answer, Confidential), FetchError> {
        let endpoint = self.client.token_endpoint().await?;
        let request =
            token_request::with_parameters(self.provider(), &endpoint, parameters, secrets).await?;
        let peer = Peer::token_endpoint(&endpoint);
        let answer = self.client.transport.post(&peer, &request).await?;
        Ok((answer, request.confidential))
    }

    fn read(
        &self,
        answer: &Answer,
        confidential: &Confidential,
    ) -> Result<ReceivedToken, FetchError> {
        let grant = &self.provider().grant;
        let read = token_response::read(answer, &self.client.answer, grant, confidential);
        read.map_err(|refusal| FetchError {
            message: format!("the provider {}", refusal.error.message),
            ..refusal.error
        })
    }

    async fn keep(&self, received: ReceivedToken, asked: Instant) -> Result<Outcome, FetchError> {
        let refresh_token = received.refresh_token.clone();
        let token = self.client.take(received).await?;
        let token = FetchedToken {
            age: asked.elapsed(),
            ..token
        };
        let is_lasting = refresh_token.is_some();
        let session = refresh_token.map(|refresh_token| self.session(refresh_token));
        self.entry.adopt(&token, session).await.map_err(|error| {
            FailureKind::Unavailable
                .because(format!("the login has worked, but {error}"))
                .advise("mend that and log in again")
        })?;
        Ok(Outcome { token, is_lasting })
    }

    fn session(&self, refresh_token: SecretString) -> SavedSession {
        SavedSession {
            identity: identity(self.provider(), None),
            refresh_token,
        }
    }

    /// OpenID Connect Core 1.0 §3.1.3.7. One that came over TLS from the token endpoint needs no
    /// other proof; one that is to be sent to upstreams is checked by `verify` as any token.
    fn check_id_token(
        &self,
        answer: &Answer,
        authorization: &Authorization,
    ) -> Result<(), FetchError> {
        let Some(id_token) = id_token(answer) else {
            return Ok(());
        };
        let claims = jwt_claims::claims(&id_token).unwrap_or_default();
        let is = |name: &str, wanted: &str| match claims.get(name) {
            Some(Value::String(found)) => found == wanted,
            Some(Value::Array(list)) => list.iter().any(|found| found.as_str() == Some(wanted)),
            _ => false,
        };
        let client_id = self.provider().client_id.as_deref().unwrap_or_default();
        let why = if !is("nonce", &authorization.nonce) {
            "its nonce is not that of this login"
        } else if !is("aud", client_id) {
            "it is meant for another client"
        } else if let Some(issuer) = &authorization.issuer
            && !is("iss", issuer)
        {
            "another provider has issued it"
        } else {
            return Ok(());
        };
        Err(FailureKind::Unverified
            .because(format!("the login's id token is not used: {why}"))
            .advise("log in again, and do not if it stays so"))
    }
}

fn id_token(answer: &Answer) -> Option<String> {
    let fields = token_response::fields(answer)?;
    Some(fields.get("id_token")?.as_str()?.to_owned())
}
