//! Gets tokens from a provider: signs in, refreshes, signs in again when it must.

use std::cell::Cell;
use std::future::pending;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use super::client_authentication::ClientAuthentication;
use super::discovery::Discovery;
use super::refusal::Refusal;
use super::secret::Secret;
use super::session::{Session, identity};
use super::token_request::TokenRequest;
use super::token_response::ReceivedToken;
use super::transport::{Peer, Transport};
use super::verification::{Published, Verifier};
use super::watch::WatchedFiles;
use super::{AnswerSettings, EndpointSettings, ProviderSettings, token_request, token_response};
use crate::token::source::{
    Changed, FailureKind, FetchError, FetchFuture, FetchedToken, TokenSource,
};

/// The client of one provider, for one credential.
#[derive(Debug)]
pub(super) struct Client {
    provider: ProviderSettings,
    answer: AnswerSettings,
    scheme: String,
    transport: Transport,
    endpoint: Endpoint,
    session: Session,
    verifier: Option<Verifier>,
    secrets: WatchedFiles,
    /// The last attempt failed for a reason that another secret may mend.
    awaits_secrets: Cell<bool>,
}

/// Where tokens are asked for.
#[derive(Debug)]
enum Endpoint {
    At(Url),
    Discovered(Box<Discovery>),
}

/// Where the provider is at this moment.
struct Whereabouts {
    token_endpoint: Url,
    published: Published,
}

impl Client {
    pub(super) fn new(
        credential: String,
        provider: ProviderSettings,
        answer: AnswerSettings,
        scheme: String,
    ) -> Result<Self, reqwest::Error> {
        let endpoint = match &provider.endpoint {
            EndpointSettings::At(url) => Endpoint::At(url.clone()),
            EndpointSettings::OfIssuer(issuer) => {
                Endpoint::Discovered(Box::new(Discovery::new(issuer.clone())))
            }
        };
        Ok(Self {
            transport: Transport::new(&provider.transport)?,
            endpoint,
            session: Session::new(credential, provider.session_file.clone()),
            verifier: provider.verification.clone().map(Verifier::new),
            secrets: WatchedFiles::new(secret_files(&provider)),
            awaits_secrets: Cell::new(false),
            provider,
            answer,
            scheme,
        })
    }

    async fn attempt(&self) -> Result<FetchedToken, FetchError> {
        let whereabouts = self.locate().await?;
        if let Some(verifier) = &self.verifier {
            verifier
                .prepare(&whereabouts.published, &self.transport)
                .await?;
        }
        let received = self.obtain(&whereabouts.token_endpoint).await?;
        if let Some(verifier) = &self.verifier {
            let token = received.secret.expose_secret();
            let verified = verifier
                .verify(token, &whereabouts.published, &self.transport)
                .await;
            let peer = Peer::token_endpoint(&whereabouts.token_endpoint);
            verified.map_err(|error| match error.kind {
                FailureKind::Unverified => peer.named(error),
                // Of the key set, which has a name of its own.
                _ => error,
            })?;
        }
        Ok(FetchedToken {
            secret: received.secret,
            scheme: self.scheme.clone(),
            lifetime: received.lifetime,
            refresh_in: received.refresh_in,
        })
    }

    async fn locate(&self) -> Result<Whereabouts, FetchError> {
        let metadata = match &self.endpoint {
            Endpoint::At(url) => {
                return Ok(Whereabouts {
                    token_endpoint: url.clone(),
                    published: Published::default(),
                });
            }
            Endpoint::Discovered(discovery) => discovery.metadata(&self.transport).await?,
        };
        let token_endpoint = match self.provider.client_authentication {
            ClientAuthentication::Certificate => metadata.mtls_token_endpoint(),
            _ => &metadata.token_endpoint,
        };
        Ok(Whereabouts {
            token_endpoint: token_endpoint.clone(),
            published: Published {
                issuer: Some(metadata.issuer),
                key_set: metadata.jwks_uri,
            },
        })
    }

    /// By the refresh token if there is one, else by signing in.
    async fn obtain(&self, endpoint: &Url) -> Result<ReceivedToken, FetchError> {
        if !self.provider.grant.keeps_session() {
            let request = token_request::sign_in(&self.provider, endpoint).await?;
            return self.call(&request).await.map_err(|refusal| refusal.error);
        }
        let first = match self.provider.grant.first_refresh_token() {
            Some(first) => first.read().await.ok(),
            None => None,
        };
        let identity = identity(&self.provider, first.as_ref());
        if let Some(kept) = self.session.refresh_token(&identity).await {
            let request = token_request::refresh(&self.provider, endpoint, &kept).await?;
            match self.call(&request).await {
                Ok(received) => return Ok(self.continued(&identity, received).await),
                Err(refusal) if refusal.of_the_grant && !same(&kept, first.as_ref()) => {
                    self.session.forget();
                }
                Err(refusal) => return Err(refusal.error),
            }
        }
        let request = token_request::sign_in(&self.provider, endpoint).await?;
        let received = self.call(&request).await.map_err(|refusal| refusal.error)?;
        Ok(self.continued(&identity, received).await)
    }

    /// An answer without a refresh token leaves the one before in force (RFC 6749 §6).
    async fn continued(&self, identity: &str, received: ReceivedToken) -> ReceivedToken {
        if let Some(refresh_token) = &received.refresh_token {
            self.session.keep(identity, refresh_token.clone()).await;
        }
        received
    }

    async fn call(&self, request: &TokenRequest) -> Result<ReceivedToken, Refusal> {
        let peer = Peer::token_endpoint(&request.url);
        let answer = self.transport.post(&peer, request).await;
        let answer = answer.map_err(|error| Refusal {
            error,
            of_the_grant: false,
        })?;
        let (grant, confidential) = (&self.provider.grant, &request.confidential);
        token_response::read(&answer, &self.answer, grant, confidential).map_err(|refusal| {
            Refusal {
                error: peer.named(refusal.error),
                ..refusal
            }
        })
    }

    fn too_late(&self) -> FetchError {
        let limit = self.provider.transport.timeout;
        match &self.provider.endpoint {
            EndpointSettings::At(url) => Peer::token_endpoint(url).too_late(limit),
            EndpointSettings::OfIssuer(url) => Peer::discovery(url).too_late(limit),
        }
    }
}

impl TokenSource for Client {
    fn fetch(&self) -> FetchFuture<'_> {
        Box::pin(async {
            self.secrets.look().await;
            // The HTTP client has the same limit for each of its calls. This one covers all of
            // them and the rest: a secret file on a file system that has gone away may never be
            // read.
            let attempt = timeout(self.provider.transport.timeout, self.attempt()).await;
            let outcome = attempt.unwrap_or_else(|_| Err(self.too_late()));
            let kind = outcome.as_ref().err().map(|error| error.kind);
            self.awaits_secrets.set(matches!(
                kind,
                Some(FailureKind::Refused | FailureKind::Misconfigured)
            ));
            if let Endpoint::Discovered(discovery) = &self.endpoint
                && let Some(FailureKind::Unavailable | FailureKind::Misconfigured) = kind
            {
                discovery.forget();
            }
            outcome
        })
    }

    fn changed(&self) -> Changed<'_> {
        match self.awaits_secrets.get() {
            true => Box::pin(self.secrets.change()),
            false => Box::pin(pending()),
        }
    }
}

fn same(kept: &SecretString, first: Option<&SecretString>) -> bool {
    first.is_some_and(|first| first.expose_secret() == kept.expose_secret())
}

/// The files whose change may make the provider say yes.
fn secret_files(provider: &ProviderSettings) -> Vec<PathBuf> {
    let request = &provider.request;
    let further = request.parameters.iter().map(|(_, secret)| secret);
    let headers = request.headers.iter().map(|(_, secret)| secret);
    provider
        .grant
        .secrets()
        .into_iter()
        .chain(provider.client_authentication.secret())
        .chain(further)
        .chain(headers)
        .filter_map(Secret::file)
        .collect()
}
