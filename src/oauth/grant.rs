//! What a token is asked for: the authorization grants of RFC 6749 and its relatives, and the
//! sign-ins of providers that have ways of their own.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::Url;

use super::jwt_assertion::{Claims, KeySource, SigningKey};
use super::login::LoginSettings;
use super::secret::Secret;
use super::token_request::Draft;
use super::{ProviderSettings, RequestSettings};
use crate::token::source::{FailureKind, FetchError};

/// A way to a token.
#[derive(Debug, Clone)]
pub enum Grant {
    /// The client asks for itself (RFC 6749 §4.4).
    ClientCredentials,
    /// A user's name and password (RFC 6749 §4.3); between two of them, refresh tokens.
    Password {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A refresh token that somebody else got (RFC 6749 §6), and those that follow it.
    RefreshToken {
        /// The first of them.
        first: Secret,
    },
    /// A statement that somebody trusted has signed (RFC 7523 §2.1).
    JwtBearer(Assertion),
    /// One token for another (RFC 8693).
    TokenExchange(TokenExchange),
    /// A user's name and password by HTTP Basic, and nothing else. No OAuth.
    HttpBasic {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
    /// A person logs in beforehand (`gatepass login`); from then on refresh tokens, where there are any.
    Login(Box<LoginSettings>),
    /// Google Identity Toolkit's sign-in with a password. No OAuth.
    IdentityToolkit {
        /// The user's address.
        email: String,
        /// The user's password.
        password: Secret,
        /// The project's key, which stands in the address of every request.
        api_key: Secret,
        /// Where refresh tokens are taken.
        refresh_endpoint: Url,
    },
}

/// A signed statement about who may have a token.
#[derive(Debug, Clone)]
pub enum Assertion {
    /// Made by somebody else and kept in a file, which is read again at each use.
    File(Secret),
    /// Signed here.
    Signed(Statement),
}

/// What an assertion that is signed here says.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The key that signs it.
    pub key: SigningKey,
    /// Who says so; the client's identifier, or the account's, if nothing stands here.
    pub issuer: Option<String>,
    /// Of whom it is said.
    pub subject: Option<String>,
    /// To whom it is said; the token endpoint if nothing stands here.
    pub audience: Option<String>,
    /// What else is said.
    pub claims: BTreeMap<String, String>,
}

/// The tokens of a token exchange.
#[derive(Debug, Clone)]
pub struct TokenExchange {
    /// The token that is given.
    pub subject_token: Secret,
    /// Its type (RFC 8693 §3).
    pub subject_token_type: String,
    /// The token of whoever acts for the subject, and its type.
    pub actor: Option<(Secret, String)>,
    /// The type of the token that is wanted.
    pub requested_token_type: Option<String>,
}

impl Grant {
    /// Its name in a configuration (`grant_type`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password { .. } => "password",
            Self::RefreshToken { .. } => "refresh_token",
            Self::JwtBearer(_) => "jwt_bearer",
            Self::TokenExchange(_) => "token_exchange",
            Self::HttpBasic { .. } => "http_basic",
            Self::Login(login) => login.flow.name(),
            Self::IdentityToolkit { .. } => "identity_toolkit",
        }
    }

    /// Whether refresh tokens stand between two sign-ins. Those that come with other grants are
    /// ignored: asking anew costs as little, and nothing has to be kept.
    pub(super) fn keeps_session(&self) -> bool {
        matches!(
            self,
            Self::Password { .. }
                | Self::RefreshToken { .. }
                | Self::Login(_)
                | Self::IdentityToolkit { .. }
        )
    }

    /// Whether it is OAuth: a form at a token endpoint, sent by a client with an identifier.
    pub fn is_oauth(&self) -> bool {
        !matches!(self, Self::HttpBasic { .. } | Self::IdentityToolkit { .. })
    }

    /// What to check when the provider calls the grant itself invalid.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "check scope, audience and client_id",
            Self::Password { .. } | Self::HttpBasic { .. } => "check username and password",
            Self::IdentityToolkit { .. } => "check username, password and api_key",
            Self::RefreshToken { .. } => {
                "get a new refresh token from the provider and put it in the place of the old one"
            }
            Self::Login(_) => "log in again with `gatepass login`",
            Self::JwtBearer(_) => {
                "check the key, the assertion's issuer, subject and audience, and this machine's clock"
            }
            Self::TokenExchange(_) => "check subject_token_file and subject_token_type",
        }
    }

    /// Writes a sign-in into a request.
    pub(super) async fn sign_in(
        &self,
        provider: &ProviderSettings,
        draft: &mut Draft,
    ) -> Result<(), FetchError> {
        match self {
            Self::ClientCredentials => draft.parameter("grant_type", "client_credentials"),
            Self::Password { username, password } => {
                draft.parameter("grant_type", "password");
                draft.parameter("username", username);
                draft.secret_parameter("password", password).await?;
            }
            Self::RefreshToken { first } => {
                draft.parameter("grant_type", "refresh_token");
                draft.secret_parameter("refresh_token", first).await?;
            }
            Self::Login(_) => return Err(nobody_logged_in()),
            Self::JwtBearer(assertion) => {
                draft.parameter("grant_type", JWT_BEARER);
                assertion.state(provider, draft).await?;
            }
            Self::TokenExchange(exchange) => exchange.describe(draft).await?,
            Self::HttpBasic { username, password } => {
                let password = draft.read(password).await?;
                let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
                draft.authorize_basic(pair);
            }
            Self::IdentityToolkit {
                email,
                password,
                api_key,
                ..
            } => {
                draft.query("key", api_key).await?;
                draft.write_json();
                draft.parameter("email", email);
                draft.secret_parameter("password", password).await?;
                draft.flag("returnSecureToken");
            }
        }
        Ok(())
    }

    /// Where refresh tokens are taken, if that is not where one signs in.
    pub fn refresh_endpoint(&self) -> Option<&Url> {
        match self {
            Self::IdentityToolkit {
                refresh_endpoint, ..
            } => Some(refresh_endpoint),
            _ => None,
        }
    }

    /// Writes into a request with a refresh token what this grant adds to it.
    pub(super) async fn refresh(&self, draft: &mut Draft) -> Result<(), FetchError> {
        if let Self::IdentityToolkit { api_key, .. } = self {
            draft.query("key", api_key).await?;
        }
        Ok(())
    }

    /// Whether scope, audience and resource go with this request. With the refresh token of a
    /// sign-in they do not: RFC 6749 §6 says that the scope "MUST NOT include any scope not
    /// originally granted", which may be less than was asked for, "and if omitted is treated as
    /// equal to the scope originally granted".
    pub(super) fn names_scope_with_refresh_tokens(&self) -> bool {
        matches!(self, Self::RefreshToken { .. })
    }

    /// Whether the scope stands in the assertion instead of beside it, as Google wants it.
    pub(super) fn states_scope(&self) -> bool {
        match self {
            Self::JwtBearer(Assertion::Signed(of)) => {
                matches!(of.key.key, KeySource::ServiceAccount(_))
            }
            _ => false,
        }
    }

    /// The secrets that it needs.
    pub(super) fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::ClientCredentials | Self::Login(_) => Vec::new(),
            Self::Password { password, .. } | Self::HttpBasic { password, .. } => vec![password],
            Self::RefreshToken { first } => vec![first],
            Self::JwtBearer(Assertion::File(file)) => vec![file],
            Self::JwtBearer(Assertion::Signed(of)) => vec![of.key.secret_mut()],
            Self::TokenExchange(exchange) => {
                let actor = exchange.actor.iter_mut().map(|(token, _)| token);
                actor.chain([&mut exchange.subject_token]).collect()
            }
            Self::IdentityToolkit {
                password, api_key, ..
            } => vec![password, api_key],
        }
    }

    /// What else decides whose session it is: the refresh token that it began with, or the project.
    pub(super) fn session_secret(&self) -> Option<&Secret> {
        match self {
            Self::RefreshToken { first } => Some(first),
            Self::IdentityToolkit { api_key, .. } => Some(api_key),
            _ => None,
        }
    }

    /// Whether it can sign in as often as it must. A refresh token that was given once cannot, nor can
    /// a login without a person.
    pub(super) fn can_sign_in_again(&self) -> bool {
        !matches!(self, Self::RefreshToken { .. } | Self::Login(_))
    }

    /// Whose tokens these are, as far as the configuration names them.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Password { username, .. } | Self::HttpBasic { username, .. } => username,
            Self::IdentityToolkit { email, .. } => email,
            _ => "",
        }
    }
}

impl Assertion {
    async fn state(
        &self,
        provider: &ProviderSettings,
        draft: &mut Draft,
    ) -> Result<(), FetchError> {
        let statement = match self {
            Self::File(file) => return draft.secret_parameter("assertion", file).await,
            Self::Signed(statement) => statement,
        };
        let RequestSettings { scope, .. } = &provider.request;
        let scope = scope.as_deref().filter(|_| provider.grant.states_scope());
        let loaded = statement.key.load().await?;
        let issuer = statement
            .issuer
            .as_deref()
            .or(loaded.account())
            .or(provider.client_id.as_deref());
        let endpoint = draft.endpoint();
        let assertion = loaded.sign(&Claims {
            issuer,
            subject: statement.subject.as_deref(),
            audience: statement.audience.as_deref().unwrap_or(&endpoint),
            scope,
            further: &statement.claims,
        })?;
        draft.secret(&assertion);
        draft.parameter("assertion", &assertion);
        Ok(())
    }
}

impl TokenExchange {
    async fn describe(&self, draft: &mut Draft) -> Result<(), FetchError> {
        draft.parameter("grant_type", TOKEN_EXCHANGE);
        let subject_token = &self.subject_token;
        draft
            .secret_parameter("subject_token", subject_token)
            .await?;
        draft.parameter("subject_token_type", &self.subject_token_type);
        if let Some((token, token_type)) = &self.actor {
            draft.secret_parameter("actor_token", token).await?;
            draft.parameter("actor_token_type", token_type);
        }
        if let Some(wanted) = &self.requested_token_type {
            draft.parameter("requested_token_type", wanted);
        }
        Ok(())
    }
}

fn nobody_logged_in() -> FetchError {
    let why = "cannot ask for a token: nobody has logged in yet, or the session is over";
    FailureKind::Refused.because(why).before_asking()
}

/// RFC 7523 §2.1.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// RFC 8628 §3.4.
pub const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// RFC 8693 §2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
