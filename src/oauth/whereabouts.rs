//! Where a provider is: where the configuration says, or where the provider says itself.

use url::Url;

use super::EndpointSettings;
use super::client_authentication::ClientAuthentication;
use super::discovery::{Discovery, Metadata};
use super::transport::Transport;
use super::verification::Publisher;
use crate::token::source::FetchError;

/// Where tokens are asked for.
#[derive(Debug)]
pub(super) enum Endpoint {
    At(Url),
    Discovered(Box<Discovery>),
}

/// Where the provider is at this moment.
pub(super) struct Whereabouts {
    pub(super) token_endpoint: Url,
    pub(super) publisher: Publisher,
}

impl Endpoint {
    pub(super) fn new(settings: &EndpointSettings) -> Self {
        match settings {
            EndpointSettings::At(url) => Self::At(url.clone()),
            EndpointSettings::OfIssuer(issuer) => {
                Self::Discovered(Box::new(Discovery::new(issuer.clone())))
            }
        }
    }

    /// What the provider says about itself, if it is asked.
    pub(super) async fn metadata(
        &self,
        transport: &Transport,
    ) -> Result<Option<Metadata>, FetchError> {
        match self {
            Self::At(_) => Ok(None),
            Self::Discovered(discovery) => discovery.metadata(transport).await.map(Some),
        }
    }

    /// Where the provider is for a client that proves itself in this way.
    pub(super) async fn locate(
        &self,
        transport: &Transport,
        client: &ClientAuthentication,
    ) -> Result<Whereabouts, FetchError> {
        let metadata = match self {
            Self::At(url) => {
                return Ok(Whereabouts {
                    token_endpoint: url.clone(),
                    publisher: Publisher::default(),
                });
            }
            Self::Discovered(discovery) => discovery.metadata(transport).await?,
        };
        let token_endpoint = match client {
            ClientAuthentication::Certificate => metadata.mtls_token_endpoint(),
            _ => &metadata.token_endpoint,
        };
        Ok(Whereabouts {
            token_endpoint: token_endpoint.clone(),
            publisher: Publisher {
                key_set: metadata.key_set(),
                issuer: Some(metadata.issuer),
            },
        })
    }

    /// To be called when nobody answers there as a provider would: it may have moved.
    pub(super) fn doubt(&self) {
        if let Self::Discovered(discovery) = self {
            discovery.doubt();
        }
    }
}
