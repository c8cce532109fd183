//! A credential as somebody asks after it who looks for what is wrong: one step at a time, and
//! without touching what a gatepass that runs keeps.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use url::Url;

use super::client::Client;
use super::token_file::TokenFile;
use super::{EndpointSettings, Origin, ProviderSettings, Settings, rotation, sharing};
use crate::store::{Entry, StoreError, Stores};
use crate::token::source::{FetchError, FetchedToken, Occasion, TokenSource};

/// The steps to a token of one credential.
pub struct Inquiry {
    settings: Settings,
    way: Way,
}

enum Way {
    File(TokenFile),
    Provider(Box<Client>),
}

impl Inquiry {
    /// Prepares the way; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The HTTP client could not be set up.
    pub fn new(settings: &Settings) -> Result<Self, reqwest::Error> {
        let settings = settings.clone();
        let (answer, scheme) = (settings.answer.clone(), settings.scheme.clone());
        let way = match &settings.origin {
            Origin::File(path) => Way::File(TokenFile::new(path.clone(), answer, scheme)),
            Origin::Provider(provider) => {
                let mut provider = (**provider).clone();
                if provider.grant.can_sign_in_again() {
                    // The refresh token in it belongs to whoever runs.
                    provider.session_file = None;
                }
                let credential = settings.credential.clone();
                let client = Client::new(credential, provider, answer, scheme, None)?;
                Way::Provider(Box::new(client))
            }
        };
        Ok(Self { settings, way })
    }

    /// The files that a token is got with.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.settings.origin {
            Origin::File(path) => vec![path.clone()],
            Origin::Provider(provider) => rotation::secret_files(provider),
        }
    }

    /// Where the way begins and how TLS is spoken there; nothing if no provider is asked.
    pub fn first_address(&self) -> Option<(&Url, &Arc<ClientConfig>)> {
        let provider = self.provider()?;
        Some((provider.endpoint.address(), &provider.transport.tls))
    }

    /// What is asked, if a provider is.
    pub fn provider(&self) -> Option<&ProviderSettings> {
        match &self.settings.origin {
            Origin::File(_) => None,
            Origin::Provider(provider) => Some(provider),
        }
    }

    /// Whether a token request would use up the only refresh token there is.
    pub fn would_use_up_session(&self) -> bool {
        self.provider()
            .is_some_and(|provider| !provider.grant.can_sign_in_again())
    }

    /// Whether there is nothing before somebody has logged in.
    pub fn needs_login(&self) -> bool {
        self.settings.needs_login()
    }

    /// Where tokens are asked for, as the provider says itself; nothing if the configuration does.
    ///
    /// # Errors
    ///
    /// The provider does not say, or says what cannot be used.
    pub async fn discover(&self) -> Option<Result<Url, FetchError>> {
        let Way::Provider(client) = &self.way else {
            return None;
        };
        match self.provider()?.endpoint {
            EndpointSettings::At(_) => None,
            EndpointSettings::OfIssuer(_) => Some(client.token_endpoint().await),
        }
    }

    /// Whether the store that the credential shares its tokens in has something that can be read
    /// here; nothing if it shares them with nobody.
    pub async fn stored(&self, stores: &Stores) -> Option<Result<bool, StoreError>> {
        Some(self.entry(stores)?.holds_something().await)
    }

    /// The store's token, if there is one that can still be sent.
    pub async fn stored_token(&self, stores: &Stores) -> Option<FetchedToken> {
        self.entry(stores)?.token_at_hand().await.ok()?
    }

    fn entry(&self, stores: &Stores) -> Option<Rc<Entry>> {
        let metrics = stores.metrics(&self.settings.credential, None);
        sharing::entry(&self.settings, stores, metrics)
    }

    /// Gets a token.
    ///
    /// # Errors
    ///
    /// As [`TokenSource::fetch`].
    pub async fn token(&self) -> Result<FetchedToken, FetchError> {
        match &self.way {
            Way::File(file) => file.fetch(Occasion::Demanded).await,
            Way::Provider(client) => client.fetch(Occasion::Demanded).await,
        }
    }
}
