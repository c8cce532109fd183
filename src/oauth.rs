//! The client of RFC 6749 and its relatives: how a token is asked for, and how the answer is read.
//!
//! [`token_request`] and [`token_response`] are what goes out and what comes back; `client` puts
//! them together, with the refresh token between two sign-ins (`session`), the provider's
//! own words about itself (`whereabouts`, `discovery`) and a check of what it hands out (`verification`).
//! [`Login`] is how people begin a session that a credential goes on with, [`Inquiry`] is for those
//! who look for what is wrong. `rotation` is about secrets that are being replaced; `token_file` is for
//! tokens that someone else renews.

mod client;
pub mod client_authentication;
mod discovery;
pub mod grant;
mod in_time;
mod inquiry;
pub mod jwt_assertion;
pub mod jwt_claims;
mod login;
mod published;
mod refusal;
pub mod retry_after;
mod rotation;
pub mod secret;
mod session;
mod sharing;
mod token_file;
pub mod token_request;
pub mod token_response;
pub mod transport;
mod unguessable;
pub mod verification;
mod whereabouts;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use crate::store::{SharedSource, SharingSettings, StoreMetrics, Stores};
use crate::token::RefusalSettings;
use crate::token::schedule::Spread;
use crate::token::source::TokenSource;
use client::Client;
pub use client_authentication::ClientAuthentication;
pub use grant::{Assertion, Grant};
pub use inquiry::Inquiry;
pub use jwt_assertion::{KeySource, SigningAlgorithm, SigningKey};
pub use login::{
    Authorization, DeviceAuthorization, Flow, Login, LoginSettings, Outcome, Returned,
};
pub use secret::{Secret, oddity, wrapping};
use token_file::TokenFile;
pub use token_request::{BodyFormat, RESERVED_PARAMETERS};
pub use token_response::TokenLocation;
pub use transport::TransportSettings;
use transport::bare;
pub use verification::VerificationSettings;

/// A credential: one way to get one kind of token.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The credential's name in the configuration.
    pub credential: String,
    /// A digest that tells these settings from others of the same name.
    pub revision: [u8; 32],
    /// Where its tokens come from.
    pub origin: Origin,
    /// How an answer is read.
    pub answer: AnswerSettings,
    /// The word before the token in the header; empty for none.
    pub scheme: String,
    /// What a 401 of an upstream does to the token.
    pub refusals: RefusalSettings,
    /// The store that it shares its tokens in, if it does.
    pub store: Option<String>,
    /// How far replicas spread their refreshes.
    pub spread: Spread,
    /// How many token requests an hour there may be, unless the token would die.
    pub token_requests_per_hour: Option<u32>,
}

impl Settings {
    /// Whether there is nothing before somebody has logged in.
    pub fn needs_login(&self) -> bool {
        match &self.origin {
            Origin::Provider(provider) => matches!(provider.grant, Grant::Login(_)),
            Origin::File(_) => false,
        }
    }
}

/// Where tokens come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// An identity provider is asked for them.
    Provider(Box<ProviderSettings>),
    /// Someone else writes them into this file.
    File(PathBuf),
}

/// In a few words, without secrets.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(provider) => match &provider.endpoint {
                EndpointSettings::At(url) => f.write_str(&bare(url)),
                EndpointSettings::OfIssuer(url) => {
                    write!(f, "the token endpoint of {}", bare(url))
                }
            },
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// How a token is found in an answer.
#[derive(Debug, Clone)]
pub struct AnswerSettings {
    /// Where the token stands: the first of these places that has one.
    pub token: Vec<TokenLocation>,
    /// The type that it must have, where the answer names one; any type if there is none here.
    pub token_type: Option<String>,
    /// How long a token is taken to live when neither the answer nor the token says.
    pub default_lifetime: Duration,
}

/// All that is needed to ask a provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Where tokens are asked for.
    pub endpoint: EndpointSettings,
    /// What for, and on whose behalf.
    pub grant: Grant,
    /// The client's identifier, where it has one.
    pub client_id: Option<String>,
    /// How the client proves who it is.
    pub client_authentication: ClientAuthentication,
    /// The client's secret before the one that is to be used, while providers may still know that
    /// alone.
    pub previous_client_secret: Option<Secret>,
    /// What else a request says.
    pub request: RequestSettings,
    /// Where the refresh token outlives the process, if it is to.
    pub session_file: Option<PathBuf>,
    /// How a token is checked before it is used, if it is.
    pub verification: Option<VerificationSettings>,
    /// How the provider is reached.
    pub transport: TransportSettings,
}

/// Where tokens are asked for. `https`, or `http` on loopback.
#[derive(Clone, PartialEq, Eq)]
pub enum EndpointSettings {
    /// At this address.
    At(Url),
    /// Where the provider of this name says (OpenID Connect Discovery 1.0, RFC 8414).
    OfIssuer(Url),
}

impl EndpointSettings {
    /// Where the way to it begins.
    pub fn address(&self) -> &Url {
        match self {
            Self::At(url) | Self::OfIssuer(url) => url,
        }
    }
}

/// Without what may be secret in an address.
impl fmt::Debug for EndpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(url) => write!(f, "At({})", bare(url)),
            Self::OfIssuer(url) => write!(f, "OfIssuer({})", bare(url)),
        }
    }
}

/// What a token request says beside the grant and the client.
#[derive(Debug, Clone, Default)]
pub struct RequestSettings {
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
}

/// The source of a credential's tokens, and what it shows if it shares or limits what it asks for.
pub type Source = (Box<dyn TokenSource>, Option<StoreMetrics>);

/// Makes the source of a credential's tokens; nothing is sent yet.
///
/// # Errors
///
/// The HTTP client could not be set up.
pub fn source(settings: Settings, stores: &Stores) -> Result<Source, reqwest::Error> {
    let per_hour = settings.token_requests_per_hour;
    let asks_freely = settings.store.is_none() && per_hour.is_none();
    let metrics = (!asks_freely).then(|| stores.metrics(&settings.credential, per_hour));
    let entry = metrics
        .clone()
        .and_then(|metrics| sharing::entry(&settings, stores, metrics));
    let Settings {
        credential,
        origin,
        answer,
        scheme,
        ..
    } = settings;
    let provider = match origin {
        Origin::Provider(provider) => *provider,
        Origin::File(path) => return Ok((Box::new(TokenFile::new(path, answer, scheme)), None)),
    };
    let timeout = provider.transport.timeout;
    let client = Client::new(credential.clone(), provider, answer, scheme, entry.clone())?;
    let client = Box::new(client);
    let Some(metrics) = metrics else {
        return Ok((client, None));
    };
    let settings = SharingSettings { timeout, per_hour };
    let shared = SharedSource::new(client, credential, entry, settings, metrics.clone());
    Ok((Box::new(shared), Some(metrics)))
}
